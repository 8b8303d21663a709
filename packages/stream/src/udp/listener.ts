import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { isIP } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { channels, type Deadlines, type Environment, type Pool, plainAddress, type StreamMessage } from '@headgate/core'
import { Counters } from '../counters.ts'
import { ListenError } from '../errors.ts'
import type { UdpListenerOptions } from '../options.ts'
import { noLookup, Session } from './session.ts'
import { Sessions } from './sessions.ts'

/** A UDP listener's options, checked and complete. */
export interface UdpSettings {
  readonly idleTimeout: number
  /** Answers for each datagram; `undefined`: not counted. */
  readonly responses: number | undefined
  readonly maxSessions: number
  readonly maxSessionsPerClient: number
  readonly retries: number
  readonly drainTimeout: number
}

/** Fills in the defaults. */
export function udpSettings (options: UdpListenerOptions): UdpSettings {
  return Object.freeze({
    idleTimeout: options.idleTimeout ?? 60_000,
    responses: options.responses,
    maxSessions: options.maxSessions ?? 10_000,
    maxSessionsPerClient: options.maxSessionsPerClient ?? Infinity,
    retries: options.retries ?? 2,
    drainTimeout: options.drainTimeout ?? 5000
  })
}

export interface UdpListenerParts {
  readonly name: string
  readonly address: { readonly host: string; readonly port: number }
  readonly settings: UdpSettings
  readonly pool: Pool
  readonly environment: Environment
  readonly deadlines: Deadlines
  readonly log: FastifyBaseLogger
}

/** What the system may keep of datagrams until they are read; it gives less where its own limit is lower. */
const RECEIVE_BUFFER = 4 * 1024 * 1024

/** Takes datagrams at one address, and gives each client's to its session. */
export class UdpListener {
  readonly protocol = 'udp'
  readonly name: string
  readonly settings: UdpSettings
  readonly pool: Pool
  readonly environment: Environment
  readonly deadlines: Deadlines
  readonly log: FastifyBaseLogger
  #counters = new Counters()

  readonly #listenAddress: { readonly host: string; readonly port: number }
  readonly #sessions: Sessions
  #socket: Socket | undefined
  /** The socket is another listener's by now. */
  #lent = false
  /** Whose place it has taken: sessions of that one get their datagrams as long as they live. */
  #before: UdpListener | undefined
  #stopped = false
  #emptied: (() => void)[] = []

  constructor (parts: UdpListenerParts) {
    this.name = parts.name
    this.settings = parts.settings
    this.pool = parts.pool
    this.environment = parts.environment
    this.deadlines = parts.deadlines
    this.log = parts.log
    this.#listenAddress = parts.address
    this.#sessions = new Sessions(parts.settings.maxSessionsPerClient !== Infinity)
  }

  get counters (): Counters { return this.#counters }

  /** `host:port` once it listens; `undefined` before and after. */
  get address (): string | undefined {
    if (this.#socket === undefined || this.#lent) return undefined
    const { address, family, port } = this.#socket.address()
    return `${family === 'IPv6' ? `[${address}]` : address}:${port}`
  }

  /** Starts to take datagrams. Rejects with `HG_STREAM_LISTEN`. */
  async listen (): Promise<void> {
    const { host, port } = this.#listenAddress
    const family = isIP(host)
    const socket = createSocket({
      type: host.includes(':') ? 'udp6' : 'udp4',
      // All that is answered are addresses. A name of the listener's own is looked up for IPv4.
      ...family === 0 ? {} : { lookup: noLookup as never }
    })
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject)
        socket.bind({ port, address: host, exclusive: false }, () => {
          socket.off('error', reject)
          resolve()
        })
      })
    } catch (error) {
      socket.close()
      throw new ListenError(this.name, `${host}:${port}`, (error as Error).message)
    }
    try {
      socket.setRecvBufferSize(RECEIVE_BUFFER)
    } catch (error) {
      this.log.debug({ err: error, listener: this.name }, 'the receive buffer keeps its size')
    }
    this.#attend(socket)
  }

  /** Takes from now on what comes to the address of another one, whose sessions go on. */
  takeOver (before: UdpListener): void {
    const socket = before.#socket!
    before.#lent = true
    socket.off('message', before.#message)
    socket.removeAllListeners('error')
    if (before.name === this.name) this.#counters = before.#counters
    this.#follow(before)
    this.#attend(socket)
  }

  /** Resolves when it has no sessions. */
  settled (): Promise<void> {
    return this.#sessions.size === 0 ? Promise.resolve() : new Promise((resolve) => { this.#emptied.push(resolve) })
  }

  /** Takes no new clients. */
  stop (): void {
    this.#stopped = true
  }

  /** Sessions that wait for counted answers may get them for a while; the others end at once. */
  async close (): Promise<void> {
    this.stop()
    for (const session of this.#sessions) if (!session.busy) session.end('shutdown', 'ok')
    if (this.#sessions.size > 0) {
      const { clock } = this.environment
      const timer = clock.setTimeout(() => {
        for (const session of this.#sessions) session.cut('shutdown')
      }, this.settings.drainTimeout)
      await this.settled()
      clock.clearTimeout(timer)
    }
    const socket = this.#socket
    this.#socket = undefined
    if (socket !== undefined && !this.#lent) await new Promise<void>((resolve) => { socket.close(resolve) })
  }

  /** Called by sessions: what the upstream sent goes to the client, as it is. */
  answer (session: Session, datagram: Buffer): void {
    this.#socket?.send(datagram, session.port, session.address)
  }

  /** Called once by each session. */
  ended (session: Session, end: { upstream: string; url: string; reason: string; connectLatency: number }): void {
    const { sent, received, attempts } = session
    this.#sessions.remove(session)
    this.counters.active--
    this.#tell(session.clientAddress, this.environment.clock.now() - session.startedAt, { ...end, sent, received, attempts })
    if (this.#sessions.size === 0) for (const resolve of this.#emptied.splice(0)) resolve()
  }

  #attend (socket: Socket): void {
    socket.on('error', (error) => { this.log.warn({ err: error, listener: this.name }, 'a datagram could not be received') })
    socket.on('message', this.#message)
    this.#socket = socket
  }

  /** Gives a datagram to its session, of this listener or of those that were here before. False: there is none. */
  #deliver (datagram: Buffer, address: string, port: number): boolean {
    const session = this.#sessions.find(address, port)
    if (session === undefined) {
      const before = this.#before
      return before !== undefined && before.#deliver(datagram, address, port)
    }
    this.#sessions.touch(session)
    session.fromClient(datagram)
    return true
  }

  #follow (before: UdpListener | undefined): void {
    this.#before = before
    void before?.settled().then(() => { this.#follow(before.#before) })
  }

  /** Called by a session that got no socket: the process has fewer than `maxSessions`, so the next client gets the oldest one's. */
  makeRoom (): void {
    this.#sessions.oldest?.cut('evicted')
  }

  readonly #message = (datagram: Buffer, { address, port }: RemoteInfo): void => {
    if (!this.#deliver(datagram, address, port)) this.#begin(address, port)?.fromClient(datagram)
  }

  #begin (address: string, port: number): Session | undefined {
    if (this.#stopped) return undefined
    this.counters.accepted++
    if (this.#sessions.of(address) >= this.settings.maxSessionsPerClient) {
      this.#tell(plainAddress(address), 0, { upstream: '', url: '', reason: 'max-sessions-per-client', connectLatency: -1, sent: 0, received: 0, attempts: 0 })
      return undefined
    }
    if (this.#sessions.size >= this.settings.maxSessions) this.#sessions.oldest!.cut('evicted')
    const session = new Session(this, address, port)
    this.pool.retryBudget.request(session.startedAt)
    this.#sessions.add(session)
    this.counters.active++
    return session
  }

  #tell (client: string, duration: number, end: Omit<StreamMessage, 'listener' | 'protocol' | 'pool' | 'client' | 'duration'>): void {
    this.counters.ended(end.reason, end.sent, end.received)
    if (channels.stream.hasSubscribers) channels.stream.publish({ listener: this.name, protocol: 'udp', pool: this.pool.name, client, duration, ...end })
    // A session's usual ends, and what a flood of strangers causes, are no news.
    this.log.debug({ listener: this.name, client, duration, ...end }, 'session ended')
  }
}
