/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The redirect `nat`: a connection A -> B of an endpoint becomes A -> L, the listener on the loopback address,
 * and what L answers comes from B again. The map proxy holds A, B and L.
 *
 * Only where both ways pass the client's interface: to whomever else the listener answers, its answers go out
 * where no program of ours sees them. Those flows are given their socket (lib/proxy.h), and so are datagrams, whose
 * listener could not be told whom they are for; and what is to be reset, which must meet no connection.
 *
 * A row that is lost, or was never made because the same client's port leads to this listener already,
 * leaves the packet to the socket that it may have been given, or else to the listener, which resets it.
 */
#ifndef KINETY_LIB_NAT_H
#define KINETY_LIB_NAT_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/conntrack.h"
#include "lib/judge.h"
#include "lib/packet.h"
#include "lib/redirect.h"
#include "lib/socket.h"

/* Every network namespace has this interface and gives it this number. */
#define NAT_LOOPBACK 1
#define TCP_CHECKSUM_OFFSET 16
#define IPV4_CHECKSUM_OFFSET 10
#define IPV4_SOURCE_OFFSET 12
#define IPV4_DESTINATION_OFFSET 16
#define IPV6_SOURCE_OFFSET 8
#define IPV6_DESTINATION_OFFSET 24

/* One end of a packet, as it is and as it is to be. */
struct rewriting {
	struct address from;
	struct address to;
	__be16 from_port;
	__be16 to_port;
	__u16 network;                   /* offset of the address */
	__u16 transport;                 /* offset of the port */
	__u16 checksum;                  /* offset of TCP's; 0: the packet has no transport header */
	__u8 ipv6;
};

static __always_inline struct address listener_address(__u32 ipv6)
{
	if (ipv6)
		return (struct address){ .word = { 0, 0, 0, bpf_htonl(1) } };
	return address_from_ipv4(bpf_htonl(0x7f000001));
}

/* Write the other address and port, and mend the checksums: 0, else something else. Global: few packets. */
__noinline int nat_rewrite(struct __sk_buff *skb, const struct rewriting *end)
{
	__s64 difference;
	long error = 0;

	if (!end)
		return -1;
	if (end->checksum)
		error = bpf_l4_csum_replace(skb, end->checksum, end->from_port, end->to_port, sizeof(__be16));
	if (end->ipv6) {
		difference = bpf_csum_diff((__be32 *)end->from.word, sizeof(end->from), (__be32 *)end->to.word,
					   sizeof(end->to), 0);
		if (end->checksum && !error)
			error = bpf_l4_csum_replace(skb, end->checksum, 0, difference, BPF_F_PSEUDO_HDR);
		error = error ?: bpf_skb_store_bytes(skb, end->network, &end->to, sizeof(end->to), 0);
	} else {
		if (end->checksum && !error)
			error = bpf_l4_csum_replace(skb, end->checksum, end->from.word[3], end->to.word[3],
						    BPF_F_PSEUDO_HDR | sizeof(__be32));
		error = error ?: bpf_l3_csum_replace(skb, ETH_HLEN + IPV4_CHECKSUM_OFFSET, end->from.word[3],
						     end->to.word[3], sizeof(__be32));
		error = error ?: bpf_skb_store_bytes(skb, end->network, &end->to.word[3], sizeof(__be32), 0);
	}
	if (end->checksum && !error)
		error = bpf_skb_store_bytes(skb, end->transport, &end->to_port, sizeof(__be16), 0);
	return error ? -1 : 0;
}

static __always_inline void nat_key(struct proxy_key *key, const struct address *client, __be16 client_port,
				    __u16 listener)
{
	key->client = *client;
	key->client_port = client_port;
	key->listener_port = listener;
	key->protocol = IPPROTO_TCP;
}

/* Whether the flow that a row is about lives. Global, as above. */
__noinline int nat_is_taken(const struct packet *packet, const struct proxy_entry *row, __u32 listener)
{
	struct packet ends = {};
	struct flow_key key = {};
	struct conntrack_entry *entry;

	if (!packet || !row)
		return 1;
	ends.source = packet->source;
	ends.source_port = packet->source_port;
	ends.destination = row->destination;
	ends.destination_port = row->destination_port;
	ends.protocol = IPPROTO_TCP;
	packet_flow_key(&ends, &key);
	entry = bpf_map_lookup_elem(&conntrack, &key);
	return entry && redirect_led(entry) == listener && !conntrack_is_closed(entry) &&
	       !conntrack_is_over(entry, packet->now, IPPROTO_TCP);
}

/* Whether a packet's destination is to be rewritten; then there is a row that says so. Global, as above. */
__noinline int nat_applies(const struct packet *packet, const struct outcome *outcome)
{
	struct proxy_entry fresh = {}, *row;
	struct proxy_key key = {};

	if (config_redirect != REDIRECT_NAT || !packet || !outcome)
		return 0;
	nat_key(&key, &packet->source, packet->source_port, outcome->proxy_port);
	row = bpf_map_lookup_elem(&proxy, &key);
	if (row && row->destination_port == packet->destination_port &&
	    address_equal(&row->destination, &packet->destination))
		return 1;
	if (!outcome->opened || (row && nat_is_taken(packet, row, outcome->proxy_port)))
		return 0;
	fresh.destination = packet->destination;
	fresh.destination_port = packet->destination_port;
	return !bpf_map_update_elem(&proxy, &key, &fresh, BPF_ANY);
}

/* A -> B becomes A -> L, by the loopback interface: a positive or negative reason. Global, as above. */
__noinline int nat_lead(struct __sk_buff *skb, const struct packet *packet, const struct outcome *outcome, __u32 mark)
{
	struct rewriting end = {};
	__u8 nowhere[ETH_ALEN] = {};

	if (config_redirect != REDIRECT_NAT || !packet || !outcome)
		return -REASON_PROXY_UNAVAILABLE;
	if (packet_opens(packet) && !listener_give_tcp(skb, packet->ipv6, outcome->proxy_port, LISTENER_SEEN))
		return -REASON_PROXY_UNAVAILABLE;
	end.from = packet->destination;
	end.from_port = packet->destination_port;
	end.to = listener_address(packet->ipv6);
	end.to_port = bpf_htons(outcome->proxy_port);
	end.ipv6 = packet->ipv6;
	end.network = ETH_HLEN + (packet->ipv6 ? IPV6_DESTINATION_OFFSET : IPV4_DESTINATION_OFFSET);
	end.transport = packet->transport + sizeof(__be16);
	end.checksum = packet->fragment == FRAGMENT_LATER ? 0 : packet->transport + TCP_CHECKSUM_OFFSET;
	if (nat_rewrite(skb, &end) || bpf_skb_store_bytes(skb, 0, nowhere, sizeof(nowhere), 0))
		return -REASON_PACKET_REWRITE;
	skb->mark = mark;
	return REASON_FORWARDED_PROXY;
}

/*
 * What a listener answers comes from whom its client had asked, before anything else is seen of it: 0, or a
 * negative reason. Nothing else comes to an endpoint from a loopback address. Global, as above.
 */
__noinline int nat_answer(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct rewriting end = {};
	struct proxy_key key = {};
	struct proxy_entry *row;
	int error;

	if (config_redirect != REDIRECT_NAT || skb->ingress_ifindex)
		return 0;
	packet.network = ETH_HLEN;
	if (packet_parse_network(skb, &packet, skb->protocol))
		return 0;
	if (packet.ipv6 ? !address_is_loopback_ipv6(&packet.source) : !address_is_loopback(&packet.source))
		return 0;
	if (packet.protocol != IPPROTO_TCP || packet.fragment || packet_parse_transport(skb, &packet, 0))
		return -REASON_TRANSLATION_LOST;
	nat_key(&key, &packet.destination, packet.destination_port, bpf_ntohs(packet.source_port));
	row = bpf_map_lookup_elem(&proxy, &key);
	if (!row)
		return -REASON_TRANSLATION_LOST;
	end.from = packet.source;
	end.from_port = packet.source_port;
	end.to = row->destination;
	end.to_port = row->destination_port;
	end.ipv6 = packet.ipv6;
	end.network = ETH_HLEN + (packet.ipv6 ? IPV6_SOURCE_OFFSET : IPV4_SOURCE_OFFSET);
	end.transport = packet.transport;
	end.checksum = packet.transport + TCP_CHECKSUM_OFFSET;
	error = nat_rewrite(skb, &end);
	return error ? -REASON_PACKET_REWRITE : 0;
}

#endif
