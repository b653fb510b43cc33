// A proxy on loopback that connects wherever it is asked to, and remembers where and by whom.

import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";

export class ConnectProxy implements AsyncDisposable {
  readonly #server: Server = createServer();
  /** `host:port`, in order. */
  readonly asked: string[] = [];
  readonly credentials: string[] = [];
  /** Status that it answers everything with. */
  refusal: number | undefined;
  /** With user and password. */
  url = "";

  static async listen(): Promise<ConnectProxy> {
    const proxy = new ConnectProxy();
    proxy.#server.on("connect", (request, client) => {
      const { hostname, port } = new URL(`http://${request.url ?? ""}`);
      proxy.asked.push(request.url ?? "");
      proxy.credentials.push(request.headers["proxy-authorization"] ?? "");
      if (proxy.refusal !== undefined) return void client.end(`HTTP/1.1 ${proxy.refusal} No\r\n\r\n`);
      const upstream = connect(Number(port), hostname, () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n");
        upstream.pipe(client).pipe(upstream);
      });
      upstream.on("error", () => client.destroy());
      client.on("error", () => upstream.destroy());
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    proxy.#server.listen(0, "127.0.0.1", () => resolve());
    await promise;
    proxy.url = `http://me:secret@127.0.0.1:${(proxy.#server.address() as AddressInfo).port}`;
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
