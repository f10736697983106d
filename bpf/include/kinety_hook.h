/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * For filters of a node's operator: a look at every packet that policy allows, and the right
 * to drop it. docs/guide/hooks.md tells how to compile and load one.
 *
 *     #include <linux/bpf.h>
 *     #include <bpf/bpf_helpers.h>
 *     #include "kinety_hook.h"
 *
 *     KINETY_EGRESS
 *     int no_mail(struct __sk_buff *skb)
 *     {
 *             struct kinety_packet packet = kinety_packet(skb);
 *             __be16 ports[2];
 *
 *             if (packet.protocol != 6 || packet.later_fragment)
 *                     return KINETY_PASS;
 *             if (bpf_skb_load_bytes(skb, packet.transport, ports, sizeof(ports)))
 *                     return KINETY_PASS;
 *             return ports[1] == __builtin_bswap16(25) ? KINETY_DROP : KINETY_PASS;
 *     }
 *
 * A filter is verified as a program that can change nothing of a packet. It reads the packet with
 * bpf_skb_load_bytes, offset 0 being the Ethernet header, and fields of struct __sk_buff; it may
 * have maps and variables of its own.
 */
#ifndef KINETY_HOOK_H
#define KINETY_HOOK_H

/* An answer. Whatever is not KINETY_PASS drops the packet. */
#define KINETY_PASS 0
#define KINETY_DROP 1

/* The two points where a filter can be: packets that leave an endpoint, packets that enter one. */
#define KINETY_EGRESS __attribute__((section("socket/egress"), used))
#define KINETY_INGRESS __attribute__((section("socket/ingress"), used))

/* Where the facts below stand in skb->cb. */
#define KINETY_CB_ENDPOINT 0
#define KINETY_CB_LOCAL 1
#define KINETY_CB_REMOTE 2
#define KINETY_CB_RULE 3
#define KINETY_CB_PACKET 4
#define KINETY_PACKET_BITS(transport, protocol, ingress, reply, ipv6, later_fragment)            \
	((transport) | (protocol) << 16 | (ingress) << 24 | (reply) << 25 | (ipv6) << 26 |      \
	 (later_fragment) << 27)

/* What Kinety knows of the packet, seen from the endpoint whose filter it is. */
struct kinety_packet {
	__u32 endpoint;         /* id, as in `kinety endpoint get` */
	__u32 local_identity;   /* as in `kinety identity list` */
	__u32 remote_identity;  /* of the other end */
	__u32 rule;             /* that allows the flow, 0: no policy */
	__u16 transport;        /* offset of the transport header */
	__u8 protocol;          /* IANA number, behind IPv6 extension headers */
	__u8 ingress;           /* 1: enters the endpoint, 0: leaves it */
	__u8 reply;             /* 1: goes to the end that opened the flow */
	__u8 ipv6;
	__u8 later_fragment;    /* 1: there is no transport header in it */
};

static __attribute__((always_inline, unused)) inline struct kinety_packet
kinety_packet(const struct __sk_buff *skb)
{
	__u32 bits = skb->cb[KINETY_CB_PACKET];
	struct kinety_packet packet = {
		.endpoint = skb->cb[KINETY_CB_ENDPOINT],
		.local_identity = skb->cb[KINETY_CB_LOCAL],
		.remote_identity = skb->cb[KINETY_CB_REMOTE],
		.rule = skb->cb[KINETY_CB_RULE],
		.transport = bits & 0xffff,
		.protocol = bits >> 16 & 0xff,
		.ingress = bits >> 24 & 1,
		.reply = bits >> 25 & 1,
		.ipv6 = bits >> 26 & 1,
		.later_fragment = bits >> 27 & 1,
	};

	return packet;
}

#endif
