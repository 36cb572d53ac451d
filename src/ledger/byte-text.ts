/** @file Bytes as people read them: memory in powers of 1024, files and transfers in powers of 1000. */

export const KiB = 1024;
export const MiB = 1024 ** 2;
export const GiB = 1024 ** 3;

/** Amounts of memory: `4.50 GiB`, `812 MiB`, `1.5 MiB`, `12 KiB`, `0 B`. */
export function formatBytes(bytes: number): string {
  if (bytes >= GiB) return `${(bytes / GiB).toFixed(2)} GiB`;
  if (bytes >= 10 * MiB) return `${Math.round(bytes / MiB)} MiB`;
  if (bytes >= MiB) return `${(bytes / MiB).toFixed(1)} MiB`;
  if (bytes >= KiB) return `${Math.round(bytes / KiB)} KiB`;
  return `${bytes} B`;
}

/** Files and transfers: `512 B`, `1.5 MB`, `6.9 GB`. */
export function byteCount(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `3.2GB` (GiB, one decimal): only in lines that the published loader prints so. */
export function gigabytes(bytes: number): string {
  return `${(bytes / GiB).toFixed(1)}GB`;
}
