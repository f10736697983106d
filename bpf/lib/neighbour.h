/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * ARP and neighbour discovery: whatever an endpoint asks for is found at the host side of
 * its own interface. The question is turned into the answer and sent straight back.
 */
#ifndef KINETY_LIB_NEIGHBOUR_H
#define KINETY_LIB_NEIGHBOUR_H

#include "abi/maps.h"
#include "lib/packet.h"
#include "lib/self.h"

#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_HOP_LIMIT 255
#define ND_TARGET_MAC 2
#define ND_SOLICITED_OVERRIDE_ROUTER bpf_htonl(0xe0000000)

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
} __attribute__((packed));

struct nd_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct address target;
	__u8 option;
	__u8 option_length;
	__u8 mac[6];
};

static __always_inline _Bool mac_equal(const __u8 *a, const __u8 *b)
{
	__u8 different = 0;

	for (int i = 0; i < 6; i++)
		different |= a[i] ^ b[i];
	return !different;
}

static __always_inline int neighbour_send_back(struct __sk_buff *skb, const struct endpoint *self)
{
	struct ethhdr ethernet = { .h_proto = skb->protocol };

	__builtin_memcpy(ethernet.h_dest, self->container_mac, 6);
	__builtin_memcpy(ethernet.h_source, self->host_mac, 6);
	if (bpf_skb_store_bytes(skb, 0, &ethernet, sizeof(ethernet), 0))
		return -REASON_PACKET_REWRITE;
	bpf_skb_change_type(skb, PACKET_HOST);
	return REASON_ANSWERED;
}

/* An ARP packet from an endpoint: answered, passed to the node that asked, or ignored. */
static __always_inline int neighbour_arp(struct __sk_buff *skb, const struct endpoint *self)
{
	struct arp_ipv4 arp;
	__be32 sender, target;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return -REASON_PACKET_TRUNCATED;
	if (arp.hardware != bpf_htons(ARPHRD_ETHER) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_length != 6 || arp.protocol_length != 4)
		return -REASON_PROTOCOL_UNSUPPORTED;
	__builtin_memcpy(&sender, arp.sender, 4);
	__builtin_memcpy(&target, arp.target, 4);
	if (sender != self->ipv4.word[3] || address_is_zero(&self->ipv4))
		return sender ? -REASON_SOURCE_ADDRESS : -REASON_NEIGHBOUR_IGNORED;
	if (arp.operation == bpf_htons(ARPOP_REPLY))
		return mac_equal(arp.sender_mac, self->container_mac) ? REASON_FORWARDED_STACK
								      : -REASON_SOURCE_ADDRESS;
	if (arp.operation != bpf_htons(ARPOP_REQUEST) || target == sender)
		return -REASON_NEIGHBOUR_IGNORED;
	arp.operation = bpf_htons(ARPOP_REPLY);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, 6);
	__builtin_memcpy(arp.sender_mac, self->host_mac, 6);
	__builtin_memcpy(arp.target, &sender, 4);
	__builtin_memcpy(arp.sender, &target, 4);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &arp, sizeof(arp), 0))
		return -REASON_PACKET_REWRITE;
	return neighbour_send_back(skb, self);
}

static __always_inline _Bool neighbour_is_discovery(const struct packet *packet)
{
	return packet->ipv6 && packet->protocol == IPPROTO_ICMPV6 && !packet->fragment &&
	       (packet->icmp_type == ND_SOLICITATION || packet->icmp_type == ND_ADVERTISEMENT);
}

static __always_inline __sum16 nd_checksum(const struct ipv6hdr *ip, struct nd_message *message)
{
	struct { __be32 length, protocol; } pseudo = {
		bpf_htonl(sizeof(*message)), bpf_htonl(IPPROTO_ICMPV6)
	};
	__s64 sum;

	message->checksum = 0;
	sum = bpf_csum_diff((void *)0, 0, (void *)&ip->saddr, 2 * sizeof(ip->saddr), 0);
	sum = bpf_csum_diff((void *)0, 0, (void *)&pseudo, sizeof(pseudo), sum);
	sum = bpf_csum_diff((void *)0, 0, (void *)message, sizeof(*message), sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A solicitation becomes an advertisement (RFC 4861, 7.2.4) of the size with one option. */
static __always_inline int neighbour_advertise(struct __sk_buff *skb, const struct endpoint *self,
					       const struct packet *packet, const struct nd_message *asked)
{
	struct nd_message answer = {
		.type = ND_ADVERTISEMENT,
		.flags = ND_SOLICITED_OVERRIDE_ROUTER,
		.target = asked->target,
		.option = ND_TARGET_MAC,
		.option_length = 1,
	};
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(sizeof(answer)),
		.nexthdr = IPPROTO_ICMPV6,
		.hop_limit = ND_HOP_LIMIT,
	};

	__builtin_memcpy(answer.mac, self->host_mac, 6);
	__builtin_memcpy(&ip.saddr, &asked->target, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, &packet->source, sizeof(ip.daddr));
	answer.checksum = nd_checksum(&ip, &answer);
	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(ip) + sizeof(answer), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(ip), &answer, sizeof(answer), 0))
		return -REASON_PACKET_REWRITE;
	return neighbour_send_back(skb, self);
}

/* Neighbour discovery from an endpoint. */
static __always_inline int neighbour_discovery(struct __sk_buff *skb, const struct endpoint *self,
					       const struct packet *packet)
{
	const __u32 without_option = sizeof(struct nd_message) - 8;
	struct nd_message asked = {};

	if (packet->ttl != ND_HOP_LIMIT || address_is_zero(&self->ipv6))
		return -REASON_NEIGHBOUR_IGNORED;
	if (address_is_zero(&packet->source))
		return -REASON_NEIGHBOUR_IGNORED; /* duplicate address detection */
	if (!address_equal(&packet->source, &self->ipv6) && !address_is_link_local(&packet->source))
		return -REASON_SOURCE_ADDRESS;
	if (bpf_skb_load_bytes(skb, packet->transport, &asked, without_option))
		return -REASON_PACKET_TRUNCATED;
	if (asked.code)
		return -REASON_NEIGHBOUR_IGNORED;
	if (asked.type == ND_ADVERTISEMENT)
		return address_equal(&asked.target, &self->ipv6) ? REASON_FORWARDED_STACK
								 : -REASON_NEIGHBOUR_IGNORED;
	if (address_equal(&asked.target, &self->ipv6) || address_equal(&asked.target, &packet->source))
		return -REASON_NEIGHBOUR_IGNORED;
	return neighbour_advertise(skb, self, packet, &asked);
}

/* ARP or neighbour discovery from an endpoint. Global: see packet_parse. */
__noinline int neighbour_hear(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *self)
{
	struct endpoint facts;

	if (!packet || !self)
		return -REASON_ENDPOINT_NOT_READY;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return config_ipv4 ? neighbour_arp(skb, self_facts(self, &facts)) : -REASON_IP_VERSION_DISABLED;
	return neighbour_discovery(skb, self_facts(self, &facts), packet);
}

#endif
