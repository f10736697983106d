/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Straight into the receiver's network namespace, as the one hop that a router would be. */
#ifndef KINETY_LIB_DELIVER_H
#define KINETY_LIB_DELIVER_H

#include "abi/maps.h"
#include "lib/packet.h"

/* RFC 1624: the time to live is the high byte of its 16-bit word. */
static __always_inline int deliver_decrement_ttl(struct __sk_buff *skb, const struct packet *packet)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if (packet->ipv6) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > end)
			return -REASON_PACKET_TRUNCATED;
		ip->hop_limit--;
	} else {
		struct iphdr *ip = data + ETH_HLEN;
		__u32 sum;

		if ((void *)(ip + 1) > end)
			return -REASON_PACKET_TRUNCATED;
		sum = (__u32)ip->check + bpf_htons(0x0100);
		ip->check = (__u16)(sum + (sum >= 0xffff));
		ip->ttl--;
	}
	return 0;
}

static __always_inline int deliver_local(struct __sk_buff *skb, const struct packet *packet,
					 const struct endpoint *receiver)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *ethernet = data;
	int error;

	/* The stack tells the sender about a time to live that ends here. */
	if (packet->ttl <= 1)
		return REASON_FORWARDED_STACK;
	error = deliver_decrement_ttl(skb, packet);
	if (error)
		return error;
	data = (void *)(long)skb->data;
	ethernet = data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return -REASON_PACKET_TRUNCATED;
	__builtin_memcpy(ethernet->h_dest, receiver->container_mac, 6);
	__builtin_memcpy(ethernet->h_source, receiver->host_mac, 6);
	return REASON_FORWARDED_LOCAL;
}

#endif
