import { type IncomingMessage, type RequestListener, Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'

/**
 * The server of an app that does not listen by itself: it gets its requests from those that do, so that another app can take
 * their place while this one finishes what it has begun. To Fastify it is a server like any other.
 */
export class InnerServer extends Server {
  /** Requests and tunnels that run. */
  running = 0
  #open = false
  #idle: (() => void)[] = []
  readonly #outer: Outer

  constructor (handler: RequestListener, outer: Outer) {
    super(handler)
    // Node would look after connections from here on, and there are none.
    this.removeAllListeners('listening')
    this.#outer = outer
    Object.defineProperty(this, 'listening', { get: () => this.#open })
  }

  override listen (): this {
    this.#open = true
    process.nextTick(() => { this.emit('listening') })
    return this
  }

  override address (): AddressInfo | string | null { return this.#outer.address() ?? 'headgate' }

  /** Calls back when nothing runs any more, and nothing can come any more over connections that are there where all of it closes. */
  override close (done?: (error?: Error) => void): this {
    this.#open = false
    if (done !== undefined) this.once('close', done)
    void this.#outer.gone().then(() => this.settled()).then(() => this.emit('close'))
    return this
  }

  override closeIdleConnections (): void { this.#outer.closeIdleConnections() }
  override closeAllConnections (): void { this.#outer.closeAllConnections() }

  /** Resolves when nothing runs. */
  settled (): Promise<void> {
    return this.running === 0 ? Promise.resolve() : new Promise((resolve) => { this.#idle.push(resolve) })
  }

  request (event: 'request' | 'checkContinue' | 'connect', request: IncomingMessage, response: ServerResponse): void {
    this.running++
    response.on('close', this.#ended)
    this.emit(event, request, response)
  }

  upgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.running++
    socket.on('close', this.#ended)
    this.emit('upgrade', request, socket, head)
  }

  readonly #ended = (): void => {
    if (--this.running > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}

/** Whoever holds the real connections. They are touched only when all of it closes: another app may be using them. */
export interface Outer {
  /** Of the first that listens; `undefined` while none does. */
  address (): AddressInfo | string | null | undefined
  /** Resolves when no connection is left; at once where others go on to use them. */
  gone (): Promise<unknown>
  closeIdleConnections (): void
  closeAllConnections (): void
}

/** One configuration at work. */
export interface Generation {
  readonly app: FastifyInstance
  readonly server: InnerServer
  /** What paths of its dashboard's streams begin with; `undefined` without a dashboard. */
  readonly streamPath: string | undefined
  /** Streams of its own dashboard: they would show for ever what is over. */
  readonly streams: Set<ServerResponse>
}
