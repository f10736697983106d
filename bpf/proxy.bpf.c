/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which listener a packet is for that bears only a mark (lib/proxy.h): the kernel asks when it finds no
 * connected socket. Conntrack says where the flow is led to; the socket is in `listeners`. What is led
 * to a listener is given to that one or to nobody: whoever else listens at the port is not meant.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/identity.h"
#include "lib/packet.h"
#include "lib/redirect.h"

#define FAMILY_INET6 10

/* Whether a program of ours asks, which knows what it is looking for (lib/socket.h). */
static __always_inline _Bool lookup_runs(void)
{
	__u64 *runs = bpf_map_lookup_elem(&lookups, &(__u32){ 0 });

	return runs && *runs;
}

/* The packet's ends: `remote` sent it. */
static __always_inline void lookup_packet(const struct bpf_sk_lookup *ctx, struct packet *packet)
{
	packet->ipv6 = ctx->family == FAMILY_INET6;
	packet->protocol = ctx->protocol;
	packet->source_port = ctx->remote_port;
	packet->destination_port = bpf_htons(ctx->local_port);
	if (packet->ipv6) {
		for (int i = 0; i < 4; i++) {
			packet->source.word[i] = ctx->remote_ip6[i];
			packet->destination.word[i] = ctx->local_ip6[i];
		}
	} else {
		packet->source = address_from_ipv4(ctx->remote_ip4);
		packet->destination = address_from_ipv4(ctx->local_ip4);
	}
}

/* The listener that a packet's flow is led to, or 0. */
static __always_inline __u16 lookup_led(const struct bpf_sk_lookup *ctx, struct packet *packet)
{
	struct conntrack_entry *entry;
	struct flow_key key = {};
	__u16 led = 0;

	lookup_packet(ctx, packet);
	packet_flow_key(packet, &key);
	/* No two of them are led at once (redirect_clashes). */
	key.proxied = 1;
	entry = bpf_map_lookup_elem(&conntrack, &key);
	if (entry)
		led = redirect_led(entry);
	if (led)
		return led;
	key.proxied = 0;
	entry = bpf_map_lookup_elem(&conntrack, &key);
	return entry ? redirect_led(entry) : 0;
}

SEC("sk_lookup")
int choose_listener(struct bpf_sk_lookup *ctx)
{
	struct listener_key key = {};
	struct packet packet = {};
	struct bpf_sock *listener;
	int error;

	if (lookup_runs() || !endpoint_of_interface(ctx->ingress_ifindex))
		return SK_PASS;
	key.port = lookup_led(ctx, &packet);
	if (!key.port)
		return SK_PASS;
	key.protocol = packet.protocol;
	key.ipv6 = packet.ipv6;
	listener = bpf_map_lookup_elem(&listeners, &key);
	if (!listener)
		return SK_DROP;
	error = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return error ? SK_DROP : SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
