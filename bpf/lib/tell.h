/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Resets that a program makes itself, of packets of TCP's, data and all. Their checksums stay right.
 */
#ifndef KINETY_LIB_TELL_H
#define KINETY_LIB_TELL_H

#include "abi/config.h"
#include "lib/nat.h"
#include "lib/packet.h"

/* What a reset exchanges with the packet that it answers; sums do not mind. */
struct tcp_ends {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledged;
};

/*
 * Make a packet the reset of its connection, for its receiver. The answer, or a negative reason. Global: see
 * packet_parse.
 */
__noinline int tell_receiver(struct __sk_buff *skb, const struct packet *packet, int answer)
{
	__be16 was, now;
	__u32 word;

	if (!config_redirect || !packet)
		return -REASON_PACKET_REWRITE;
	word = packet->transport + TCP_FLAGS_OFFSET - 1;
	if (bpf_skb_load_bytes(skb, word, &was, sizeof(was)))
		return -REASON_PACKET_TRUNCATED;
	now = (was & bpf_htons(TCP_HEADER_LENGTH)) | bpf_htons(TCP_RST | TCP_ACK);
	if (bpf_l4_csum_replace(skb, packet->transport + TCP_CHECKSUM_OFFSET, was, now, sizeof(now)) ||
	    bpf_skb_store_bytes(skb, word, &now, sizeof(now), 0))
		return -REASON_PACKET_REWRITE;
	return answer;
}

/* Exchange a packet's addresses: 0, else something else. */
static __always_inline int tell_addresses(struct __sk_buff *skb, const struct packet *packet)
{
	struct address ipv6[2] = { packet->destination, packet->source };
	__be32 ipv4[2] = { packet->destination.word[3], packet->source.word[3] };

	if (packet->ipv6)
		return bpf_skb_store_bytes(skb, ETH_HLEN + IPV6_SOURCE_OFFSET, ipv6, sizeof(ipv6), 0);
	return bpf_skb_store_bytes(skb, ETH_HLEN + IPV4_SOURCE_OFFSET, ipv4, sizeof(ipv4), 0);
}

/*
 * Make a packet the reset that its sender gets, as if its receiver knew of no connection (RFC 9293, 3.5.2): 0, else
 * something else. Global, as above.
 */
__noinline int tell_sender(struct __sk_buff *skb, const struct packet *packet)
{
	struct tcp_ends was, now;

	if (!config_redirect || !packet || bpf_skb_load_bytes(skb, packet->transport, &was, sizeof(was)))
		return -1;
	now.source = was.destination;
	now.destination = was.source;
	now.sequence = was.acknowledged;
	now.acknowledged = was.sequence;
	if (tell_addresses(skb, packet) || bpf_skb_store_bytes(skb, packet->transport, &now, sizeof(now), 0))
		return -1;
	return tell_receiver(skb, packet, 0);
}

#endif
