// What a file takes on disk: blocks, not length, because disks are sparse.

/** st_blocks counts these, whatever the filesystem's own block is. */
const BLOCK_BYTES = 512;

export const diskBytesOf = ({ blocks }: { readonly blocks: number }): number => blocks * BLOCK_BYTES;
