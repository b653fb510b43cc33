// What CNI gave a pod: the VM takes it over unchanged.

export interface IpAddress {
  /** Without prefix length, as the plugin spelled it. */
  readonly address: string;
  readonly prefixLength: number;
  /** Of the subnet; the default route is in `routes` if there is one. */
  readonly gateway?: string;
  readonly family: 4 | 6;
}

export interface Route {
  /** CIDR. */
  readonly destination: string;
  /** Absent: the destination is on the link. May lie outside every subnet of the pod: then it is on the link itself. */
  readonly gateway?: string;
  readonly mtu?: number;
}

/** One pod on one network: the state of the interface `interfaceName` in the pod's netns. */
export interface Attachment {
  /** CNI network name. */
  readonly network: string;
  /** `eth0`. */
  readonly interfaceName: string;
  /** Lower-case, colon-separated; the VM's NIC gets the same. */
  readonly mac: string;
  /** Bytes, read from the interface in the netns when the result does not say. */
  readonly mtu: number;
  /** In the plugin's order; the first is the pod's primary IP. */
  readonly addresses: readonly IpAddress[];
  readonly routes: readonly Route[];
}
