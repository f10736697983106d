/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * An ICMP error belongs to the flow whose packet it quotes, and follows that flow's entry.
 * It is about a packet that its receiver has sent: the quoted source must be the error's
 * destination. One that quotes no known flow is judged as an ICMP message of its own.
 */
#ifndef KINETY_LIB_RELATED_H
#define KINETY_LIB_RELATED_H

#include "lib/conntrack.h"
#include "lib/fragment.h"
#include "lib/packet.h"

#define ICMP_ERROR_HEADER 8

/* Errors quote at least eight bytes of the transport: ports, or type and echo identifier. */
__noinline int related_parse(struct __sk_buff *skb, const struct packet *packet, struct packet *quoted)
{
	__be16 ports[2], protocol;
	int error;

	if (!packet || !quoted)
		return -REASON_ICMP_MALFORMED;
	protocol = packet->ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	quoted->network = packet->transport + ICMP_ERROR_HEADER;
	error = packet_parse_network(skb, quoted, protocol);
	if (error)
		return error;
	if (quoted->fragment == FRAGMENT_LATER)
		return -REASON_ICMP_MALFORMED;
	if (packet_is_icmp(quoted))
		return packet_parse_icmp(skb, quoted);
	if (quoted->protocol == IPPROTO_TCP || quoted->protocol == IPPROTO_UDP ||
	    quoted->protocol == IPPROTO_UDPLITE || quoted->protocol == IPPROTO_SCTP) {
		if (bpf_skb_load_bytes(skb, quoted->transport, ports, sizeof(ports)))
			return -REASON_PACKET_TRUNCATED;
		quoted->source_port = ports[0];
		quoted->destination_port = ports[1];
	}
	return 0;
}

/*
 * The flow of a packet. For an error that quotes a known flow, the packet then speaks as
 * one that the quoted packet's receiver sent back.
 */
static __always_inline int related_find(struct __sk_buff *skb, struct packet *packet, struct flow *flow)
{
	struct packet quoted = {};

	if (!packet->icmp_error || packet->fragment) {
		if (!packet->untracked)
			conntrack_find(packet, flow);
		/* An answer to nobody's question is a message of its own type, and opens no flow. */
		if (!flow->entry && packet_is_echo_reply(packet))
			packet->untracked = 1;
		return 0;
	}
	if (related_parse(skb, packet, &quoted) || quoted.untracked)
		return -REASON_ICMP_MALFORMED;
	if (!address_equal(&quoted.source, &packet->destination))
		return -REASON_ICMP_MALFORMED;
	conntrack_find(&quoted, flow);
	if (!flow->entry)
		return 0;
	packet->source = quoted.destination;
	packet->source_port = quoted.destination_port;
	packet->destination_port = quoted.source_port;
	packet->protocol = quoted.protocol;
	packet->icmp_type = 0;
	packet->untracked = 0;
	packet->related = 1;
	flow->reply = !flow->reply;
	return 0;
}

#endif
