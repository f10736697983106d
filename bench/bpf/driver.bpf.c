/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Drives another program with a flow of its own choice in every run of BPF_PROG_TEST_RUN.
 *
 * A repeated run is handed the same packet, as the run before left it: the second one belongs
 * to a flow that is known by then, and after 63 deliveries its time to live is over. So this
 * gives the packet a source port and a time to live, and goes on to what is measured.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TIME_TO_LIVE 64

/*
 * What is measured, at 0.
 * Written by the benchmark, program by program.
 * Read in every run; a miss fails it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} measured SEC(".maps");

/*
 * Source ports: the next one to use, and the step to the one after it (0: stay in one flow).
 * Written by the benchmark before each round, and here.
 * Read in every run; it never misses.
 */
struct ports {
	__u32 next;
	__u32 step;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ports);
} ports SEC(".maps");

SEC("tc")
int drive(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ipv4 = data + ETH_HLEN;
	struct ipv6hdr *ipv6 = data + ETH_HLEN;
	__u32 row = 0;
	struct ports *state = bpf_map_lookup_elem(&ports, &row);
	__be16 *port;

	if (!state)
		return -1;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		port = (void *)(ipv4 + 1);
		if ((void *)(port + 1) > end)
			return -1;
		ipv4->ttl = TIME_TO_LIVE;
	} else {
		port = (void *)(ipv6 + 1);
		if ((void *)(port + 1) > end)
			return -1;
		ipv6->hop_limit = TIME_TO_LIVE;
	}
	*port = bpf_htons((__u16)state->next);
	state->next += state->step;
	bpf_tail_call(skb, &measured, 0);
	return -1;
}

/* The baseline: a program that lets everything pass. */
SEC("tc")
int pass(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
