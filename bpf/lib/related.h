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
#include "lib/redirect.h"

#define ICMP_ERROR_HEADER 8

/* The key of the flow that an error quotes. At least eight bytes of its transport are there. */
__noinline int related_parse(context *ctx, struct packet *packet, struct flow_key *key)
{
	struct packet quoted = {};
	__u32 protocol;

	if (!packet || !key)
		return -REASON_ICMP_MALFORMED;
	protocol = packet->ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (packet_parse(ctx, &quoted, key, protocol, packet->transport + ICMP_ERROR_HEADER))
		return -REASON_ICMP_MALFORMED;
	if (quoted.fragment == FRAGMENT_LATER || quoted.untracked)
		return -REASON_ICMP_MALFORMED;
	if (!address_equal(&quoted.source, &packet->destination))
		return -REASON_ICMP_MALFORMED;
	packet->source_high = quoted.source_high;
	return 0;
}

enum related {
	RELATED_NONE = 0,
	RELATED_BY_RECEIVER = 1,         /* an error that the quoted packet's receiver tells of */
	RELATED_BY_OTHER = 2,            /* one that somebody on the way does */
};

/*
 * The error speaks as a packet that the quoted packet's receiver sent back. Says who told of it.
 * Global: it is rare.
 */
__noinline int related_adopt(struct packet *packet, const struct flow_key *key)
{
	struct address teller;

	if (!packet || !key)
		return RELATED_BY_OTHER;
	teller = packet->source;
	packet->source = packet->source_high ? key->low : key->high;
	packet->source_port = packet->source_high ? key->low_port : key->high_port;
	packet->destination_port = packet->source_high ? key->high_port : key->low_port;
	packet->protocol = key->protocol;
	packet->icmp_type = 0;
	packet->untracked = 0;
	packet->related = 1;
	return address_equal(&packet->source, &teller) ? RELATED_BY_RECEIVER : RELATED_BY_OTHER;
}

/* Asked anew each time, so that neither compiler nor verifier carries the answer along. */
static __always_inline _Bool packet_quotes(const struct packet *packet)
{
	return *(volatile __u8 *)&packet->icmp_error;
}

/* The flow of a packet. An error that quotes a known flow becomes one of its packets (enum related). */
static __always_inline int related_find(context *ctx, struct packet *packet, struct flow_key *key,
					struct flow *flow)
{
	if (packet_quotes(packet) && related_parse(ctx, packet, key))
		return -REASON_ICMP_MALFORMED;
	if (!packet->untracked || packet_quotes(packet)) {
		if (config_redirect && !key->proxied && port_is_of_proxies(redirect_port(packet, key)))
			redirect_answers(packet, key);
		conntrack_find(packet, key, flow);
	}
	/* An answer to nobody's question is a message of its own type, and opens no flow. */
	if (!flow->entry) {
		packet->untracked |= packet->echo_reply;
		return RELATED_NONE;
	}
	if (!packet_quotes(packet))
		return RELATED_NONE;
	flow->reply = !flow->reply;
	return related_adopt(packet, key);
}

#endif
