/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Every map of the datapath, with three facts above each: what a row means, who writes
 * it, who reads it and what a miss means. Sizes are defaults; the loader may change
 * max_entries, nothing else.
 */
#ifndef KINETY_ABI_MAPS_H
#define KINETY_ABI_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "proxy.h"
#include "reasons.h"
#include "types.h"

/*
 * Interface slot -> endpoint; row 0 is the node itself.
 * Written by the agent, through shared memory.
 * Read for every packet; a row that is not ready drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4097);
	__type(key, __u32);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

/*
 * Address of an endpoint of this node -> its slot.
 * Written by the agent.
 * Read to find the receiver; a miss means: not on this node, ask the ipcache.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct address);
	__type(value, struct local_address);
} local_addresses SEC(".maps");

/*
 * Endpoint slot x direction (slot * DIRECTION_COUNT + direction) -> its limit, and what is used of it.
 * Written by the agent when the endpoint is attached, then by the programs.
 * Read where the endpoint's flags say so; never missed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096 * DIRECTION_COUNT);
	__type(key, __u32);
	__type(value, struct rate);
} rates SEC(".maps");

/*
 * Single address -> identity (nodes, remote endpoints, /32 and /128 policies).
 * Written by the agent.
 * Read when the address is not local; a miss means: ask ipcache_prefixes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct address);
	__type(value, struct ipcache_entry);
} ipcache_hosts SEC(".maps");

/*
 * Prefix -> identity.
 * Written by the agent.
 * Read after ipcache_hosts; a miss means: world of the address's family.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct ipcache_prefix_key);
	__type(value, struct ipcache_entry);
} ipcache_prefixes SEC(".maps");

/*
 * Identity -> class: what selectors of this node can tell apart.
 * Written by the agent.
 * Read when a flow is judged; a miss means class 0, which no selector names.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, __u32);
	__type(value, __u32);
} identity_classes SEC(".maps");

/*
 * Slot -> the complete verdict table of one direction, shared by all it fits.
 * Written by the agent, which fills a spare inner map and then points endpoints at it.
 * Read when a flow is judged; a missing inner map denies, an inner miss is default deny.
 */
struct rule_set {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	/* Sizes, not types: clang leaves types that only an inner map names undefined in BTF. */
	__uint(key_size, sizeof(struct rule_set_key));
	__uint(value_size, sizeof(struct rule_set_entry));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__array(values, struct rule_set);
} rule_sets SEC(".maps");

/*
 * Flow -> state and the verdicts of both ends.
 * Written by the programs; user space only reads.
 * Read for every packet; a miss is a new flow.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_key);
	__type(value, struct conntrack_entry);
} conntrack SEC(".maps");

/*
 * Listener of a proxy -> its socket.
 * Written by the programs, when they hand the choice of a socket over to the kernel; the kernel removes
 * what is closed.
 * Read by the program that the kernel asks (proxy.bpf.c); a miss drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 16384);
	__type(key, struct listener_key);
	__type(value, __u64);
} listeners SEC(".maps");

/*
 * Whether a program of ours looks for a socket on this processor just now, row 0.
 * Written by the programs.
 * Read by the program that the kernel asks meanwhile (proxy.bpf.c), which need not answer; never missed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lookups SEC(".maps");

/*
 * Client A and listener L -> B, whom the client asked, of connections whose destination is rewritten.
 * Written by the programs.
 * Read for their packets and answers, and when a proxy asks for B; a miss resets, or drops an answer.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct proxy_key);
	__type(value, struct proxy_entry);
} proxy SEC(".maps");

/*
 * First fragment of a packet -> its ports.
 * Written by the programs.
 * Read for later fragments; a miss drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

/*
 * The node's own row 0.
 * Written by the agent, through shared memory.
 * Read for every packet that is not local.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node_state);
} node_state SEC(".maps");

/*
 * Drops, new flows, verdict changes, shadow disagreements.
 * Written by the programs.
 * Read by the agent; when it is full the event is lost and lost_events counts it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/*
 * Events that found the ring full, row 0.
 * Written by the programs.
 * Read by the agent; counting never drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost_events SEC(".maps");

/*
 * Reason x direction (reason * DIRECTION_COUNT + direction) -> packets and bytes.
 * Written by the programs.
 * Read by the agent; counting never drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT * DIRECTION_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/*
 * Rule -> packets and bytes it decided, denials included; row 0 is the default.
 * Written by the programs.
 * Read by the agent; counting never drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct counter);
} rule_counters SEC(".maps");

/*
 * Direction x filter (direction * HOOK_SLOT_COUNT + slot) -> a program of the node's operator.
 * Written by the agent; an update is in force for the next packet.
 * Read for packets that policy allows, where node_state.hooks says so; a miss lets pass.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, DIRECTION_COUNT * HOOK_SLOT_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} hooks SEC(".maps");

/*
 * The same slot -> packets and bytes that the filter dropped.
 * Written by the programs; the agent clears a row before its filter is in force.
 * Read by the agent; counting never drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DIRECTION_COUNT * HOOK_SLOT_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} hook_counters SEC(".maps");

/*
 * Endpoint, peer, rules and verdicts -> flows about which a shadow rule set disagrees.
 * Written by the programs; the agent removes rows that mean nothing any more.
 * Read by the agent; when it is full nothing is counted and lost_shadows counts that.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct shadow_key);
	__type(value, struct shadow_counter);
} shadow_counters SEC(".maps");

/*
 * A row of shadow_counters in the making, row 0: it is too large for the stack.
 * Written by the programs.
 * Read by the programs at once; never missed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shadow_counter);
} shadow_scratch SEC(".maps");

/*
 * Packets that found no room in shadow_counters, row 0.
 * Written by the programs.
 * Read by the agent; counting never drops.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost_shadows SEC(".maps");

#endif
