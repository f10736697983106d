/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who talks to whom, counted by identity and protocol at both points; nothing is dropped.
 * Read it with `bpftool map dump pinned`, at the path that `kinety datapath hook list` shows.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kinety_hook.h"

struct talk {
	__u32 local_identity;
	__u32 remote_identity;
	__u8 protocol;
	__u8 ingress;
	__u8 reserved[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct talk);
	__type(value, __u64);
} talks SEC(".maps");

static __always_inline int count(struct __sk_buff *skb)
{
	struct kinety_packet packet = kinety_packet(skb);
	struct talk talk = {
		.local_identity = packet.local_identity,
		.remote_identity = packet.remote_identity,
		.protocol = packet.protocol,
		.ingress = packet.ingress,
	};
	__u64 one = 1, *packets = bpf_map_lookup_elem(&talks, &talk);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	else
		bpf_map_update_elem(&talks, &talk, &one, BPF_NOEXIST);
	return KINETY_PASS;
}

KINETY_EGRESS
int trace_egress(struct __sk_buff *skb)
{
	return count(skb);
}

KINETY_INGRESS
int trace_ingress(struct __sk_buff *skb)
{
	return count(skb);
}

char _license[] SEC("license") = "Dual BSD/GPL";
