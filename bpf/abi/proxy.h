/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs, user space and proxies share about flows that are led to proxies. */
#ifndef KINETY_ABI_PROXY_H
#define KINETY_ABI_PROXY_H

#include <linux/types.h>

#include "types.h"

/*
 * What packets on their way to a proxy are marked with, and those that it sends on. In bits 16-31 of the
 * first stand the lowest 16 bits of the client's identity, in bits 0-7 the next eight, in bit 12 whether
 * the number is this node's own; of the second, bits 16-31 are the port of the listener that sends it.
 * An endpoint cannot bring either: the kernel clears marks where a packet changes its namespace.
 */
enum mark {
	MARK_KIND = 0x0f00,                   /* the bits that say which it is */
	MARK_TO_PROXY = 0x0200,
	MARK_FROM_PROXY = 0x0a00,
	MARK_LOCAL_IDENTITY = 0x1000,
	MARK_TURNED = 0x2000,                 /* with MARK_TO_PROXY: connection tracking saw it before it was turned back */
	MARK_ANSWERED_HERE = 0x0400,          /* with MARK_TO_PROXY: a proxy of this node's sent it, for somebody elsewhere */
	MARK_UNLED = 0x0100,                  /* with MARK_TO_PROXY: goes nowhere unless nftables leads it (lib/lead.h) */
};

/* What skb->priority tells nftables of a packet with MARK_UNLED, beside the port of a listener (lib/lead.h). */
enum lead {
	LEAD_TO_SOCKET = 0,               /* it belongs to a connection, or is an answer to a proxy */
	LEAD_TO_RESET = 1 << 16,          /* its sender is to be told that there is no such connection */
};

/* How flows come to the listeners of proxies (config_redirect). */
enum redirect {
	REDIRECT_NONE = 0,                    /* not at all: what is to be redirected is dropped */
	REDIRECT_SK_ASSIGN = 1,               /* the program gives the packet its socket (lib/proxy.h) */
	REDIRECT_TPROXY = 2,                  /* nftables does, as the program tells it to (lib/lead.h) */
	REDIRECT_NAT = 3,                     /* destinations are rewritten, where answers are, too (lib/nat.h) */
	REDIRECT_SOCKMAP = 4,                 /* as sk_assign, and then without packets (sockmap.bpf.c) */
};

/* A listener of a proxy, on the loopback address of its family. */
struct listener_key {
	__u16 port;                           /* host byte order */
	__u8 protocol;
	__u8 ipv6;
};

/* A client A that was led to a listener L by another destination, as L sees it. */
struct proxy_key {
	struct address client;
	__be16 client_port;
	__u16 listener_port;                  /* host byte order */
	__u8 protocol;
	__u8 reserved[3];
};

/* B: whom the client asked. */
struct proxy_entry {
	struct address destination;
	__be16 destination_port;
	__u8 reserved[2];
};

#endif
