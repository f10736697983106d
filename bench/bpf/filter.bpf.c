/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The least that an operator's filter can do: let everything pass, at both points. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "include/kinety_hook.h"

KINETY_EGRESS
int leaves(struct __sk_buff *skb)
{
	(void)skb;
	return KINETY_PASS;
}

KINETY_INGRESS
int enters(struct __sk_buff *skb)
{
	(void)skb;
	return KINETY_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
