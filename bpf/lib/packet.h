/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the programs need to know of a packet, whatever its family.
 *
 * Every function returns 0 or a negative reason. Headers are copied by offset rather than
 * walked by pointer: the offset of the transport header is variable, and a copy of 8-14
 * bytes costs less than the bounds checks that the verifier wants for each access.
 */
#ifndef KINETY_LIB_PACKET_H
#define KINETY_LIB_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/reasons.h"
#include "lib/address.h"
#include "lib/context.h"

#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_MAX_EXTENSIONS 6
/* linux/icmp.h and icmpv6.h would pull in the C library's headers. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
/* linux/if_packet.h: for this host. */
#define PACKET_HOST 0
#define TCP_FLAGS_OFFSET 13
#define TCP_CHECKSUM_OFFSET 16
#define TCP_HEADER_LENGTH 0xf000  /* of the word that ends in flags */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

enum fragment {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 2,
};

struct packet {
	struct address source;
	struct address destination;
	__be16 source_port;              /* ICMP echo: see struct flow_key */
	__be16 destination_port;
	__u32 identification;            /* of a fragmented packet */
	__u32 now;                       /* seconds of the monotonic clock, once its flow is looked for */
	__u16 network;                   /* offset of the IP header */
	__u16 transport;                 /* offset of the transport header */
	__u16 length;                    /* bytes from the IP header on */
	__u8 protocol;
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 fragment;                   /* enum fragment */
	__u8 icmp_error;                 /* quotes another packet; not said of fragments */
	__u8 echo_reply;
	__u8 untracked;                  /* ICMP that is no flow's: judged each time */
	__u8 related;                    /* an error that speaks for the flow it quotes */
	__u8 source_high;                /* the source is the high end of the flow's key */
	__u8 ipv6;
};

static __always_inline int packet_parse_ipv4(context *ctx, struct packet *packet)
{
	struct iphdr ip;
	__u16 fragment;

	if (context_load(ctx, packet->network, &ip, sizeof(ip)))
		return -REASON_PACKET_TRUNCATED;
	if (ip.version != 4 || ip.ihl < 5)
		return -REASON_PACKET_TRUNCATED;
	packet->source = address_from_ipv4(ip.saddr);
	packet->destination = address_from_ipv4(ip.daddr);
	packet->protocol = ip.protocol;
	packet->ttl = ip.ttl;
	packet->transport = packet->network + ip.ihl * 4;
	fragment = bpf_ntohs(ip.frag_off);
	if (fragment & (IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS)) {
		packet->identification = ip.id;
		packet->fragment = FRAGMENT_FIRST;
		if (fragment & IPV4_FRAGMENT_OFFSET) {
			packet->fragment = FRAGMENT_LATER;
			/* The first 24 bytes hold every port and flag; nobody may replace them. */
			if ((fragment & IPV4_FRAGMENT_OFFSET) < 3)
				return -REASON_FRAGMENT_MALFORMED;
		}
	}
	return 0;
}

static __always_inline _Bool packet_is_extended(const struct packet *packet)
{
	__u8 kind = packet->protocol;

	return packet->fragment != FRAGMENT_LATER &&
	       (kind == IPPROTO_HOPOPTS || kind == IPPROTO_ROUTING || kind == IPPROTO_DSTOPTS ||
		kind == IPPROTO_FRAGMENT || kind == IPPROTO_AH);
}

/* Past one extension header: 0, else a negative reason. Global: rare, and there can be several. */
__noinline int packet_skip_extension(context *ctx, struct packet *packet)
{
	struct { __u8 next, length; __be16 fragment; __be32 identification; } extension;
	__u8 kind;

	if (!packet)
		return -REASON_PACKET_TRUNCATED;
	kind = packet->protocol;
	if (context_load(ctx, packet->transport, &extension, sizeof(extension)))
		return -REASON_PACKET_TRUNCATED;
	packet->protocol = extension.next;
	if (kind == IPPROTO_FRAGMENT) {
		__u16 offset = bpf_ntohs(extension.fragment);

		packet->transport += sizeof(extension);
		if (!(offset & (IPV6_FRAGMENT_OFFSET | IPV6_MORE_FRAGMENTS)))
			return 0; /* an atomic fragment is a whole packet (RFC 6946) */
		if (packet->fragment)
			return -REASON_FRAGMENT_MALFORMED;
		packet->identification = extension.identification;
		packet->fragment = FRAGMENT_FIRST;
		if (offset & IPV6_FRAGMENT_OFFSET) {
			packet->fragment = FRAGMENT_LATER;
			if ((offset & IPV6_FRAGMENT_OFFSET) < 24)
				return -REASON_FRAGMENT_MALFORMED;
		}
		return 0;
	}
	/* Segments left: the packet would go elsewhere than its destination says. */
	if (kind == IPPROTO_ROUTING && (bpf_ntohs(extension.fragment) & 0xff))
		return -REASON_EXTENSION_HEADERS;
	if (kind == IPPROTO_AH)
		packet->transport += (extension.length + 2) * 4;
	else
		packet->transport += (extension.length + 1) * 8;
	return 0;
}

static __always_inline int packet_parse_ipv6(context *ctx, struct packet *packet)
{
	struct ipv6hdr ip;
	int error;

	if (context_load(ctx, packet->network, &ip, sizeof(ip)))
		return -REASON_PACKET_TRUNCATED;
	if (ip.version != 6)
		return -REASON_PACKET_TRUNCATED;
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip.daddr, sizeof(packet->destination));
	/* Mapped addresses mean IPv4 in every map; on the wire they mean mischief. */
	if (address_is_ipv4(&packet->source) || address_is_ipv4(&packet->destination))
		return -REASON_MAPPED_ADDRESS;
	packet->ipv6 = 1;
	packet->protocol = ip.nexthdr;
	packet->ttl = ip.hop_limit;
	packet->transport = packet->network + sizeof(ip);
#pragma clang loop unroll(disable)
	for (int i = 0; i < IPV6_MAX_EXTENSIONS; i++) {
		if (!packet_is_extended(packet))
			return 0;
		error = packet_skip_extension(ctx, packet);
		if (error)
			return error;
	}
	return -REASON_EXTENSION_HEADERS;
}

static __always_inline _Bool packet_is_icmp(const struct packet *packet)
{
	return packet->protocol == (packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* The first packet of a TCP connection. */
static __always_inline _Bool packet_opens(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline int packet_parse_icmp(context *ctx, struct packet *packet)
{
	struct { __u8 type, code; __be16 checksum, identifier, sequence; } icmp;

	if (context_load(ctx, packet->transport, &icmp, sizeof(icmp)))
		return -REASON_PACKET_TRUNCATED;
	packet->icmp_type = icmp.type;
	if (icmp.type == (packet->ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO)) {
		packet->source_port = icmp.identifier;
	} else if (icmp.type == (packet->ipv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY)) {
		packet->destination_port = icmp.identifier;
		packet->echo_reply = 1;
	} else {
		packet->untracked = 1;
		if (packet->fragment)
			return 0;
		if (packet->ipv6)
			packet->icmp_error = icmp.type < ICMPV6_ECHO_REQUEST;
		else
			packet->icmp_error = icmp.type == ICMP_DEST_UNREACH || icmp.type == ICMP_TIME_EXCEEDED ||
					     icmp.type == ICMP_PARAMETERPROB;
	}
	return 0;
}

/* Ports and, of packets that nobody quotes, flags: of a whole packet or the first of its fragments. */
static __always_inline int packet_parse_transport(context *ctx, struct packet *packet, _Bool quoted)
{
	__be16 ports[2];

	if (packet_is_icmp(packet))
		return packet_parse_icmp(ctx, packet);
	switch (packet->protocol) {
	case IPPROTO_TCP:
		if (!quoted &&
		    context_load(ctx, packet->transport + TCP_FLAGS_OFFSET, &packet->tcp_flags, 1))
			break;
		/* fallthrough */
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		if (context_load(ctx, packet->transport, ports, sizeof(ports)))
			break;
		packet->source_port = ports[0];
		packet->destination_port = ports[1];
		return 0;
	default:
		return 0;
	}
	return packet->fragment ? -REASON_FRAGMENT_MALFORMED : -REASON_PACKET_TRUNCATED;
}

/* The key of a packet's flow; notes in the packet which end of it is the source. */
static __always_inline void packet_flow_key(struct packet *packet, struct flow_key *key)
{
	packet->source_high = address_less(&packet->destination, &packet->source);
	if (address_equal(&packet->destination, &packet->source))
		packet->source_high = packet->destination_port < packet->source_port;
	if (packet->source_high) {
		key->low = packet->destination;
		key->high = packet->source;
		key->low_port = packet->destination_port;
		key->high_port = packet->source_port;
	} else {
		key->low = packet->source;
		key->high = packet->destination;
		key->low_port = packet->source_port;
		key->high_port = packet->destination_port;
	}
	key->protocol = packet->protocol;
}

/* The network header at packet->network, of the family that protocol names. */
static __always_inline int packet_parse_network(context *ctx, struct packet *packet, __be16 protocol)
{
	if (protocol == bpf_htons(ETH_P_IP)) {
		if (!config_ipv4)
			return -REASON_IP_VERSION_DISABLED;
		return packet_parse_ipv4(ctx, packet);
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (!config_ipv6)
			return -REASON_IP_VERSION_DISABLED;
		return packet_parse_ipv6(ctx, packet);
	}
	return -REASON_PROTOCOL_UNSUPPORTED;
}

#endif
