// etcd, API server, controller manager and scheduler of a cluster that is as small as one can be, in a room.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { certify } from "../../fakes/certificate.ts";
import { output } from "../../node/command.ts";
import { poll } from "../../node/poll.ts";
import type { Room } from "./room.ts";

export interface ControlPlane {
  /** Of somebody who may do everything. */
  readonly kubeconfigPath: string;
}

const TOKEN = "whoever-is-in-the-room";

/** @param programs folder with etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl. Resolves when the API server is ready. */
export async function startControlPlane(room: Room, programs: string, signal: AbortSignal): Promise<ControlPlane> {
  const at = (name: string): string => join(room.folderPath, name);
  const program = (name: string): string => join(programs, name);
  const service = "IP:10.96.0.1,DNS:kubernetes.default.svc";
  const { keyPath, certPath } = await certify(room.folderPath, "api", `subjectAltName=IP:${room.address},${service}`);
  const [signingKeyPath, publicKeyPath] = [at("accounts.key"), at("accounts.pub")];
  await output(["/usr/bin/openssl", "genrsa", "-out", signingKeyPath, "2048"], signal);
  await output(["/usr/bin/openssl", "rsa", "-in", signingKeyPath, "-pubout", "-out", publicKeyPath], signal);
  await writeFile(at("tokens.csv"), `${TOKEN},admin,admin,system:masters\n`);
  const kubeconfigPath = at("kubeconfig");
  await writeFile(kubeconfigPath, stringify(kubeconfig(`https://${room.address}:6443`, certPath)));

  const etcd = "http://127.0.0.1:2379";
  const etcdUrls = [`--listen-client-urls=${etcd}`, `--advertise-client-urls=${etcd}`];
  room.start("etcd", [program("etcd"), "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", ...etcdUrls]);
  room.start("kube-apiserver", [
    program("kube-apiserver"),
    `--etcd-servers=${etcd}`,
    `--bind-address=${room.address}`,
    `--advertise-address=${room.address}`,
    `--cert-dir=${at("certs")}`,
    `--tls-cert-file=${certPath}`,
    `--tls-private-key-file=${keyPath}`,
    `--token-auth-file=${at("tokens.csv")}`,
    "--authorization-mode=Node,RBAC",
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${publicKeyPath}`,
    `--service-account-signing-key-file=${signingKeyPath}`,
    "--service-cluster-ip-range=10.96.0.0/24",
    "--kubelet-preferred-address-types=InternalIP",
    "--allow-privileged",
  ]);
  const isReady = async (): Promise<string> =>
    await room.output([program("kubectl"), "--kubeconfig", kubeconfigPath, "get", "--raw", "/readyz"], signal);
  try {
    await poll(isReady, { what: "an API server", limitMs: 120_000, everyMs: 500 }, signal);
  } catch (error) {
    throw new Error(`${await room.logOf("etcd")}\n${await room.logOf("kube-apiserver")}`, { cause: error });
  }
  room.start("kube-controller-manager", [
    program("kube-controller-manager"),
    `--kubeconfig=${kubeconfigPath}`,
    `--cert-dir=${at("certs")}`,
    `--service-account-private-key-file=${signingKeyPath}`,
    `--root-ca-file=${certPath}`,
    "--leader-elect=false",
  ]);
  room.start("kube-scheduler", [
    program("kube-scheduler"),
    `--kubeconfig=${kubeconfigPath}`,
    `--cert-dir=${at("certs")}`,
    "--leader-elect=false",
  ]);
  return { kubeconfigPath };
}

function kubeconfig(server: string, certPath: string): unknown {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "room", cluster: { server, "certificate-authority": certPath } }],
    users: [{ name: "admin", user: { token: TOKEN } }],
    contexts: [{ name: "room", context: { cluster: "room", user: "admin" } }],
    "current-context": "room",
  };
}
