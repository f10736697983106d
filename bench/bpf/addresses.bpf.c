/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Looks up many different addresses in one run, in the ways an ipcache could be made.
 * `both` calls the function that the datapath calls.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi/maps.h"
#include "lib/identity.h"

#define ADDRESSES 1024

/*
 * The addresses of a run.
 * Written by the benchmark.
 * Read in every run; it never misses.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ADDRESSES);
	__type(key, __u32);
	__type(value, struct address);
} asked SEC(".maps");

/*
 * Prefix -> identity, single addresses as prefixes of 128 bits: an ipcache without a hash.
 * Written by the benchmark.
 * Read by trie_alone; a miss means: world of the address's family.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct ipcache_prefix_key);
	__type(value, struct ipcache_entry);
} everything SEC(".maps");

/* The same as identity_of_address, from one map. */
static __noinline __u32 identity_from_trie(const struct address *address)
{
	struct ipcache_prefix_key key = { .prefix_length = 8 * sizeof(*address), .address = *address };
	struct ipcache_entry *entry = bpf_map_lookup_elem(&everything, &key);

	if (entry)
		return entry->identity;
	return address_is_ipv4(address) ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6;
}

/* The sum of what is found, so that nothing is optimised away and answers can be compared. */
#define FOR_EACH_ADDRESS(answer)                                                       \
	__u32 sum = 0;                                                                 \
	(void)skb;                                                                     \
                                                                                       \
	for (__u32 row = 0; row < ADDRESSES; row++) {                                  \
		__u32 index = row;                                                     \
		struct address *address = bpf_map_lookup_elem(&asked, &index);         \
                                                                                       \
		if (!address)                                                          \
			return -1;                                                     \
		sum += (answer);                                                       \
	}                                                                              \
	return sum & 0x7fffffff

SEC("tc")
int nothing(struct __sk_buff *skb)
{
	FOR_EACH_ADDRESS(bpf_ntohl(address->word[3]));
}

SEC("tc")
int trie_alone(struct __sk_buff *skb)
{
	FOR_EACH_ADDRESS(identity_from_trie(address));
}

SEC("tc")
int both(struct __sk_buff *skb)
{
	FOR_EACH_ADDRESS(identity_of_address(address));
}

char _license[] SEC("license") = "Dual BSD/GPL";
