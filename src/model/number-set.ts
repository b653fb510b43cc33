// Lists of CPUs and memory nodes, such as `0-2,5`, as the kernel, libvirt and the kubelet spell them.

interface Range {
  readonly first: number;
  readonly last: number;
}

/** In their order; a text that is no such list gives ranges that are none. */
export function rangesIn(set: string): Range[] {
  return set.split(",").map((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return { first, last };
  });
}
