/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who gives a packet the socket that was found for it: the program itself, or nftables, where the program only
 * says which (REDIRECT_TPROXY; src/kinety/datapath/tproxy.py has the rules).
 *
 * The mark is taken by the client's identity, so the listener's port travels in skb->priority, which nothing
 * between here and prerouting looks at. A packet that nftables has not seen bears MARK_UNLED: routing
 * drops it, should the rules be gone.
 */
#ifndef KINETY_LIB_LEAD_H
#define KINETY_LIB_LEAD_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/proxy.h"

/* Whether nftables leads packets. */
static __always_inline _Bool lead_by_nftables(void)
{
	return config_redirect == REDIRECT_TPROXY;
}

/* Give a packet the socket of its connection: 0 when it has it. */
static __always_inline int lead_to_socket(struct __sk_buff *skb, struct bpf_sock *found)
{
	if (!lead_by_nftables())
		return bpf_sk_assign(skb, found, 0);
	skb->priority = LEAD_TO_SOCKET;
	return 0;
}

/* The same of a listener, by its port. */
static __always_inline int lead_to_listener(struct __sk_buff *skb, struct bpf_sock *found, __u16 port)
{
	if (!lead_by_nftables())
		return bpf_sk_assign(skb, found, 0);
	skb->priority = port;
	return 0;
}

/*
 * A packet that is to be reset has the listener, which does so. nftables would give it to a connection that
 * there may be, so it is told.
 */
static __always_inline void lead_to_reset(struct __sk_buff *skb)
{
	if (lead_by_nftables())
		skb->priority = LEAD_TO_RESET;
}

/* The mark that a packet leaves the program with. */
static __always_inline __u32 lead_mark(__u32 mark)
{
	return lead_by_nftables() ? mark | MARK_UNLED : mark;
}

#endif
