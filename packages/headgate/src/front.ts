import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { offerConnects } from '@headgate/balancer'
import type { ListenAddress } from '@headgate/core'
import type { Generation, Outer } from './generation.ts'
import { listen } from './listen.ts'

/** The servers that listen. What comes in goes to the present generation; what it has begun stays with the one that began it. */
export class Front implements Outer {
  readonly #servers = new Map<string, { readonly server: Server; readonly url: string }>()
  readonly #make: () => Server
  #generation: Generation
  #closing: Promise<unknown> | undefined

  /** `make`: a server that does not listen, and has no listeners for requests. */
  constructor (generation: Generation, make: () => Server) {
    this.#generation = generation
    this.#make = make
  }

  get generation (): Generation { return this.#generation }
  /** Addresses of all that listens, in the order in which they were opened. */
  get urls (): string[] { return [...this.#servers.values()].map(({ url }) => url) }

  /** From now on requests go to another generation. */
  serve (generation: Generation): void {
    this.#generation = generation
  }

  /** Opens an address; `key` names it. */
  async open (key: string, address: ListenAddress): Promise<void> {
    const server = this.#make()
    const over = (event: 'request' | 'checkContinue' | 'connect') => (request: IncomingMessage, response: ServerResponse): void => {
      const { server: inner, streamPath, streams } = this.#generation
      if (streamPath !== undefined && request.url?.startsWith(streamPath) === true) {
        streams.add(response)
        response.once('close', () => { streams.delete(response) })
      }
      inner.request(event, request, response)
    }
    server.on('request', over('request'))
    server.on('checkContinue', over('checkContinue'))
    server.on('connect', over('connect'))
    offerConnects(server)
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => { this.#generation.server.upgrade(request, socket, head) })
    server.on('clientError', (error: Error, socket: Duplex) => { this.#generation.server.emit('clientError', error, socket) })
    this.#servers.set(key, { server, url: await listen(server, address) })
  }

  address (): AddressInfo | string | null | undefined {
    return this.#servers.values().next().value?.server.address()
  }

  has (key: string): boolean {
    return this.#servers.has(key)
  }

  get keys (): string[] { return [...this.#servers.keys()] }

  /** Takes no new connections at an address; those that are there may finish what they do. */
  shut (key: string): Promise<void> {
    const { server } = this.#servers.get(key)!
    this.#servers.delete(key)
    // What is busy now becomes idle later, and would hold the address up until its keep-alive ends.
    const idle = setInterval(() => { server.closeIdleConnections?.() }, 100).unref()
    return closed(server).finally(() => { clearInterval(idle) })
  }

  /** Milliseconds in which a client has to send its request's head. */
  set headersTimeout (milliseconds: number) {
    for (const { server } of this.#servers.values()) server.headersTimeout = milliseconds
  }

  /** Takes no new connections anywhere. Resolves when none is left. */
  close (): Promise<unknown> {
    return this.#closing ??= Promise.all([...this.#servers.values()].map(({ server }) => closed(server)))
  }

  gone (): Promise<unknown> {
    return this.#closing ?? Promise.resolve()
  }

  closeIdleConnections (): void {
    if (this.#closing !== undefined) for (const { server } of this.#servers.values()) server.closeIdleConnections?.()
  }

  closeAllConnections (): void {
    if (this.#closing !== undefined) for (const { server } of this.#servers.values()) server.closeAllConnections?.()
  }
}

/** Takes no new connections and ends the idle ones. Resolves when none is left. */
function closed (server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => { resolve() })
    server.closeIdleConnections?.()
    // Connections of HTTP/2 end when their streams have; Node 24 sees to that by itself.
    ;(server as Server & { closeHttp2Sessions?: () => void }).closeHttp2Sessions?.()
  })
}
