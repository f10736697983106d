"""The one door to the kernel: bpf(2), ELF, BTF, network namespaces and netlink; knows nothing of policy."""
