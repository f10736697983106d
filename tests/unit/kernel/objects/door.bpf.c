/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Everything the loader must understand, in one object: the yardstick test loads it twice. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETHERNET 14

struct key {
	__u32 prefix_length;
	__be32 address;
};

struct row {
	__u64 packets;
	__u32 verdict;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct row);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct row);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 256);
	__uint(key_size, sizeof(struct key));
	__uint(value_size, sizeof(__u32));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 16);
	__type(key, __u32);
	__array(values, struct inner);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

const volatile __attribute__((section(".rodata.config"), used)) __u32 config_step = 3;
const volatile __attribute__((section(".rodata.config"), used)) __u8 config_small = 1;
const volatile __u64 wide = 1ULL << 40;
const volatile __s16 negative = -5;
volatile __u64 sum;
static volatile __u32 hidden;
volatile __u32 initialised = 77;

static __noinline __u32 leaf(__u32 value)
{
	hidden += value;
	return value * config_step + negative;
}

/* A global function, which the verifier checks on its own. */
__noinline int middle(__u32 value)
{
	return leaf(value) + leaf(value + 1) + config_small;
}

static long add_up(__u32 index, void *context)
{
	__u64 *total = context;

	*total += leaf(index);
	return 0;
}

SEC("tc")
int judge(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct key key = {.prefix_length = 32};
	__u32 zero = 0, slot = skb->ingress_ifindex & 15;
	struct row *row;
	__u64 *count, total = 0;
	__u32 *verdict;
	void *table;

	if (data + ETHERNET + 4 > end)
		return TC_ACT_SHOT;
	key.address = *(__be32 *)(data + ETHERNET);
	count = bpf_map_lookup_elem(&counters, &zero);
	if (count)
		*count += 1;
	row = bpf_map_lookup_elem(&shared, &zero);
	if (row)
		row->packets += 1;
	table = bpf_map_lookup_elem(&tables, &slot);
	if (table) {
		verdict = bpf_map_lookup_elem(table, &key);
		if (verdict && *verdict == 7)
			return TC_ACT_SHOT;
	}
	bpf_loop(4, add_up, &total, 0);
	sum += middle(skb->len) + wide + total + initialised;
	skb->mark = middle(skb->mark);
	return row && row->verdict ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("tc")
int tell(struct __sk_buff *skb)
{
	__u64 *record = bpf_ringbuf_reserve(&events, 16, 0);

	if (!record)
		return TC_ACT_SHOT;
	record[0] = skb->mark;
	record[1] = leaf(skb->len);
	bpf_ringbuf_submit(record, 0);
	return TC_ACT_OK;
}

SEC("cgroup/connect4")
int connect(struct bpf_sock_addr *context)
{
	return context->user_port != bpf_htons(config_step);
}

char _license[] SEC("license") = "Dual BSD/GPL";
