/**
 * The extension by which an x86 processor runs guests, `none` for one that has it not or hides it; undefined of other processors.
 * @param cpuInfo Content of /proc/cpuinfo.
 */
export function extensionIn(cpuInfo: string): "vmx" | "svm" | "none" | undefined {
  if (!/^flags\s*:/m.test(cpuInfo)) return undefined;
  return (/^flags\s*:.*\b(vmx|svm)\b/m.exec(cpuInfo)?.[1] as "vmx" | "svm" | undefined) ?? "none";
}
