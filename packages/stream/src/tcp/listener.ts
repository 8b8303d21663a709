import { connect, type AddressInfo, type Server, type Socket } from 'node:net'
import { unlink } from 'node:fs/promises'
import type { FastifyBaseLogger } from 'fastify'
import { channels, type Deadlines, type Environment, FlowBuffers, type HealthChange, type Pool, type StreamMessage, type Upstream } from '@headgate/core'
import { clientKey, type ListenAddress } from '../address.ts'
import { Counters } from '../counters.ts'
import { ListenError } from '../errors.ts'
import type { StreamTransport } from '../transport.ts'
import { Connection } from './connection.ts'
import { Meter } from './meter.ts'
import type { ProxyWriter } from './proxy-out.ts'
import type { Matcher } from './routes.ts'
import type { TcpSettings } from './settings.ts'
import { acceptor, setAcceptor } from './socket.ts'
import type { Termination } from './termination.ts'

/** One way out of a listener. */
export interface Exit {
  /** `undefined` for the listener's own pool, which takes what no route does. */
  readonly match: Matcher | undefined
  readonly pool: Pool
  readonly proxyWriter: ProxyWriter | undefined
  /** Ends the clients' TLS when this exit is taken. */
  readonly termination: Termination | undefined
}

/** What a listener needs from the plugin that makes it. */
export interface TcpListenerParts {
  readonly name: string
  readonly address: ListenAddress
  readonly settings: TcpSettings
  readonly exits: readonly Exit[]
  readonly exit: Exit | undefined
  /** Ends all clients' TLS before the exit is chosen. */
  readonly termination: Termination | undefined
  readonly environment: Environment
  readonly deadlines: Deadlines
  readonly log: FastifyBaseLogger
}

type Ended = Pick<StreamMessage, 'pool' | 'upstream' | 'url' | 'reason' | 'sent' | 'received' | 'connectLatency' | 'attempts'>

/** As many as the system lets wait for their accept. */
const BACKLOG = 4096

/** Accepts connections at one address and keeps count of them. */
export class TcpListener {
  readonly protocol = 'tcp'
  readonly name: string
  readonly settings: TcpSettings
  readonly exits: readonly Exit[]
  readonly exit: Exit | undefined
  readonly termination: Termination | undefined
  readonly environment: Environment
  readonly deadlines: Deadlines
  readonly log: FastifyBaseLogger
  readonly buffers: FlowBuffers
  #counters = new Counters()

  readonly #listenAddress: ListenAddress
  /** `undefined` once another listener has taken its place. */
  #server: Server | undefined
  readonly #connections = new Set<Connection>()
  readonly #clients = new Map<string, number>()
  readonly #total: { readonly upload: Meter | undefined; readonly download: Meter | undefined }
  #emptied: (() => void)[] = []
  readonly #watched: readonly Pool[]

  constructor (parts: TcpListenerParts) {
    this.name = parts.name
    this.settings = parts.settings
    this.exits = parts.exits
    this.exit = parts.exit
    this.termination = parts.termination
    this.environment = parts.environment
    this.deadlines = parts.deadlines
    this.log = parts.log
    this.#listenAddress = parts.address
    this.buffers = new FlowBuffers(this.settings.readBufferSize)
    const { totalUpload, totalDownload } = this.settings.bandwidth
    this.#total = { upload: this.#meter(totalUpload), download: this.#meter(totalDownload) }
    this.#server = acceptor(this.settings.noDelay, this.settings.keepAlive, this.#accept)
    const exits = this.exit === undefined ? this.exits : [...this.exits, this.exit]
    this.#watched = this.settings.closeWhenDown ? exits.map(({ pool }) => pool) : []
  }

  get counters (): Counters { return this.#counters }

  /** `host:port` or `unix:/path` once it listens; `undefined` before and after. */
  get address (): string | undefined {
    const address = this.#server?.address() as AddressInfo | string | null | undefined
    if (address === null || address === undefined) return undefined
    if (typeof address === 'string') return `unix:${address}`
    return `${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`
  }

  /** Starts to accept. Rejects with `HG_STREAM_LISTEN`. */
  async listen (): Promise<void> {
    const server = this.#server!
    try {
      await this.#open(server)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const where = this.#listenAddress
      if (code !== 'EADDRINUSE' || !('path' in where) || !await isAbandoned(where.path)) throw this.#cannot(error)
      await unlink(where.path)
      await this.#open(server).catch((error: unknown) => { throw this.#cannot(error) })
    }
    this.#attend(server)
  }

  /** Accepts from now on what comes to the address of another one, whose connections go on. */
  takeOver (before: TcpListener): void {
    const server = before.#server!
    before.#server = undefined
    server.off('connection', before.#accept)
    server.removeAllListeners('error')
    setAcceptor(server, this.settings.noDelay, this.settings.keepAlive)
    server.on('connection', this.#accept)
    this.#server = server
    if (before.name === this.name) this.#counters = before.#counters
    this.#attend(server)
  }

  /** Resolves when it has no connections. */
  settled (): Promise<void> {
    return this.#connections.size === 0 ? Promise.resolve() : new Promise((resolve) => { this.#emptied.push(resolve) })
  }

  /** Accepts no more. */
  stop (): void {
    if (this.#server?.listening === true) this.#server.close()
  }

  /** Lets connections live until they end, or for the time that draining may take. */
  async close (): Promise<void> {
    this.stop()
    if (this.#connections.size > 0) {
      const { clock } = this.environment
      const timer = clock.setTimeout(() => {
        for (const connection of this.#connections) connection.cut('shutdown')
      }, this.settings.drainTimeout)
      await this.settled()
      clock.clearTimeout(timer)
    }
    for (const pool of this.#watched) pool.off('state', this.#cutWhenDown)
  }

  /** Bounds for one direction of one connection. */
  meters (direction: 'upload' | 'download'): readonly Meter[] {
    const own = this.#meter(this.settings.bandwidth[direction])
    const total = this.#total[direction]
    if (own === undefined && total === undefined) return NONE
    return [own, total].filter((meter) => meter !== undefined)
  }

  /** Called once by each connection that {@link Connection.accept} gave. */
  ended (connection: Connection, end: Ended): void {
    this.#connections.delete(connection)
    this.counters.active--
    this.#forget(connection.peer)
    this.#tell(connection.info.clientAddress, this.environment.clock.now() - connection.startedAt, end)
    if (this.#connections.size === 0) for (const resolve of this.#emptied.splice(0)) resolve()
  }

  readonly #accept = (socket: Socket): void => {
    this.counters.accepted++
    const { maxConnections, maxConnectionsPerClient } = this.settings
    if (this.#connections.size >= maxConnections) return this.#refuse(socket, 'max-connections')
    if (maxConnectionsPerClient !== Infinity && (this.#clients.get(clientKey(socket.remoteAddress ?? '')) ?? 0) >= maxConnectionsPerClient) {
      return this.#refuse(socket, 'max-connections-per-client')
    }
    const connection = Connection.accept(this, socket)
    if (connection === undefined) return this.#refuse(socket, 'client-closed')
    this.#connections.add(connection)
    this.counters.active++
    if (maxConnectionsPerClient !== Infinity) {
      const key = clientKey(connection.peer)
      this.#clients.set(key, (this.#clients.get(key) ?? 0) + 1)
    }
    connection.start()
  }

  #refuse (socket: Socket, reason: string): void {
    const client = socket.remoteAddress ?? ''
    socket.destroy()
    this.#tell(client, 0, { pool: '', upstream: '', url: '', reason, sent: 0, received: 0, connectLatency: -1, attempts: 0 })
  }

  #forget (peer: string): void {
    if (this.settings.maxConnectionsPerClient === Infinity) return
    const key = clientKey(peer)
    const count = this.#clients.get(key) ?? 0
    if (count > 1) this.#clients.set(key, count - 1)
    else this.#clients.delete(key)
  }

  #tell (client: string, duration: number, end: Ended): void {
    this.counters.ended(end.reason, end.sent, end.received)
    if (channels.stream.hasSubscribers) channels.stream.publish({ listener: this.name, protocol: 'tcp', client, duration, ...end })
    this.log[end.reason === 'closed' ? 'debug' : 'info']({ listener: this.name, client, duration, ...end }, 'connection ended')
  }

  #meter (rate: number | undefined): Meter | undefined {
    return rate === undefined ? undefined : new Meter(this.environment.clock, rate)
  }

  readonly #cutWhenDown = (upstream: Upstream, { to }: HealthChange): void => {
    if (to === 'down') (upstream.transport as StreamTransport).cut('upstream-down')
  }

  #attend (server: Server): void {
    server.on('error', (error) => { this.log.warn({ err: error, listener: this.name }, 'a connection could not be accepted') })
    for (const pool of this.#watched) pool.on('state', this.#cutWhenDown)
  }

  #open (server: Server): Promise<void> {
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ ...this.#listenAddress, backlog: BACKLOG }, () => {
        server.off('error', reject)
        resolve()
      })
    })
  }

  #cannot (error: unknown): Error {
    const where = this.#listenAddress
    return new ListenError(this.name, 'path' in where ? where.path : `${where.host}:${where.port}`, (error as Error).message)
  }
}

const NONE: readonly Meter[] = []

/** A Unix socket of a process that is gone: its file is there and nobody answers. */
function isAbandoned (path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => { resolve(error.code === 'ECONNREFUSED') })
  })
}
