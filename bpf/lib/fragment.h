/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Later fragments have no ports: they take those of their first fragment. */
#ifndef KINETY_LIB_FRAGMENT_H
#define KINETY_LIB_FRAGMENT_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/packet.h"

/* Remember the ports of a first fragment, or find those of a later one. */
static __always_inline int fragment_resolve(struct packet *packet)
{
	struct fragment_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.identification = packet->identification,
		.protocol = packet->protocol,
	};
	struct fragment_ports *found;

	if (packet->fragment == FRAGMENT_FIRST) {
		struct fragment_ports ports = { packet->source_port, packet->destination_port };

		/* A failure shows as an unknown fragment later on. */
		bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
		return 0;
	}
	found = bpf_map_lookup_elem(&fragments, &key);
	if (!found)
		return -REASON_FRAGMENT_UNKNOWN;
	packet->source_port = found->source_port;
	packet->destination_port = found->destination_port;
	if (packet_is_icmp(packet))
		packet->icmp_type = packet->ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
	return 0;
}

/*
 * Everything about the packet of a family (`protocol`) whose IP header is at an offset, and the
 * key of its flow; later fragments included. An IP header further on than the packet's own is one
 * that an ICMP error quotes: all there need be of its transport is eight bytes.
 *
 * A global function: the verifier looks at it once and then knows nothing of its result,
 * where inlined every combination of header kinds multiplied the states of the callers
 * (400 000 instructions verified instead of a few thousand). Others are global likewise.
 */
__noinline int packet_parse(context *ctx, struct packet *packet, struct flow_key *key, __u32 protocol,
			    __u32 network)
{
	_Bool quoted = network != CONTEXT_NETWORK;
	int error;

	if (!packet || !key)
		return -REASON_PACKET_TRUNCATED;
	packet->network = network;
	packet->length = context_length(ctx);
	error = packet_parse_network(ctx, packet, protocol);
	if (error)
		return error;
	if (packet->fragment != FRAGMENT_LATER) {
		error = packet_parse_transport(ctx, packet, quoted);
		if (error)
			return error;
	}
	if (packet->fragment && !quoted) {
		error = config_fragments ? fragment_resolve(packet) : -REASON_FRAGMENTS_DISABLED;
		if (error)
			return error;
	}
	packet_flow_key(packet, key);
	return 0;
}

#endif
