// What the wiring is told; the settings of the same names are read, checked and described in config.

export interface KernelOptions {
  /** One folder per wired pod with its DHCP server's configuration and pid; must not survive a reboot. */
  readonly dhcpFolderPath: string;
  /** The DHCP and router-advertisement server. */
  readonly dnsmasqPath: string;
}
