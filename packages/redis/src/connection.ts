import { EventEmitter } from 'node:events'
import { type Clock, systemClock } from '@headgate/core'
import { Cluster, Redis, type RedisOptions as ClientOptions } from 'ioredis'
import { Breaker } from './breaker.ts'
import { type Client, dropSilent, GOODBYE, retryDelay } from './client.ts'
import { RedisAwayError } from './errors.ts'
import { checkRedis, type RedisOptions } from './options.ts'
import { PrimaryConnector } from './primary-connector.ts'
import { Sentinels } from './sentinels.ts'
import { SlotOwner } from './slot-owner.ts'

/** Of servers of which nobody can say whether they are still the primary. */
const ANY = {}

type Arguments = (string | number | Buffer)[]
/** The client has it, its types do not. */
interface Scripting<T> { evalBuffer (script: string, keys: number, ...rest: Arguments): Promise<T> }

/** Runs a script that answers with bytes. */
export function evalBuffer<T> (client: Client, script: string, keys: number, ...rest: Arguments): Promise<T> {
  return (client as unknown as Scripting<T>).evalBuffer(script, keys, ...rest)
}

/** A reply that says no, rather than that nobody is there: it came in time, so it is no reason not to ask again. */
function isRefusal (error: unknown): boolean {
  return (error as Error).name === 'ReplyError' && !/^(LOADING|CLUSTERDOWN|MASTERDOWN|READONLY|TRYAGAIN)/.test((error as Error).message)
}

function address (text: string, usual: number): { host: string; port: number; tls: object | undefined } {
  const { hostname, port, protocol } = new URL(text)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? usual : Number(port), tls: protocol === 'rediss:' ? {} : undefined }
}

/**
 * The connection of one process: every question has a time limit, and after some failures in a row it is not asked for a while. Says `away`
 * and `back` when that flips, and `hung` when it gives up a connection that does not answer.
 */
export class Connection extends EventEmitter<{ away: [reason: string]; back: []; hung: [] }> {
  readonly clock: Clock
  readonly timeout: number
  readonly client: Client
  readonly #options: RedisOptions
  readonly #breaker: Breaker
  readonly #connectTimeout: number
  readonly #sentinels: Sentinels | undefined
  /** Of the client through which questions are asked, with Sentinel. */
  #connector: PrimaryConnector | undefined
  /** With Cluster. */
  readonly #owners: SlotOwner | undefined
  #reason = 'not connected yet'
  /** The present connection was given up, and has not ended yet. */
  #hung = false

  constructor (options: RedisOptions) {
    super()
    checkRedis(options)
    this.#options = options
    this.clock = options.clock ?? systemClock
    this.timeout = options.timeout ?? 20
    this.#connectTimeout = options.connectTimeout ?? 2000
    if (options.sentinel !== undefined) {
      const { nodes, name, password } = options.sentinel
      const sentinels = nodes.map((node) => address(node, 26379))
      this.#sentinels = new Sentinels({ clock: this.clock, nodes: sentinels, name, password, tls: sentinels[0]!.tls, timeout: this.#connectTimeout })
    }
    this.#breaker = new Breaker(this.clock, options.failures ?? 5, options.retryAfter ?? 250, (open) => {
      if (open) this.emit('away', this.#reason)
      else this.emit('back')
    })
    this.client = this.open(true)
    if (this.client instanceof Cluster) this.#owners = new SlotOwner(this.client, this.clock)
    this.client.on('ready', () => { this.#breaker.hope() })
    this.client.on('close', () => { this.#hung = false })
  }

  get away (): boolean { return this.#breaker.open }

  /**
   * The server that is asked about a key now, as nothing but itself: another one when it was connected to anew, or the key has another owner.
   * `undefined` while there is none.
   */
  session (key: string): object | undefined {
    if (this.#owners !== undefined) return this.#owners.of(key)
    return this.#sentinels === undefined ? ANY : this.#connector?.session
  }

  /** Where that is; `undefined` while there is none, and where nobody could tell whether it is another. */
  server (key: string): string | undefined {
    const owner = this.#owners?.of(key)
    return owner === undefined ? this.#connector?.address : `${owner.options.host} ${owner.options.port}`
  }

  /**
   * Was all that was answered about a key since `session` was looked at the word of a server that has it still? One that hung and goes on does not
   * know that another took its place; sentinels and the other nodes of a cluster do.
   */
  async holds (session: object | undefined, key: string): Promise<boolean> {
    if (session === undefined || session !== this.session(key)) return false
    if (this.#owners !== undefined) return this.#owners.holds(key, session as Redis)
    const server = this.server(key)
    return this.#sentinels === undefined || server === undefined || this.#sentinels.name(server)
  }

  /** Another connection to the same place: for commands that wait (`pipelined` false). */
  open (pipelined: boolean): Client {
    const { url = 'redis://127.0.0.1:6379', cluster, sentinel, username, password } = this.#options
    const common = {
      protocol: 2 as const,
      connectTimeout: this.#connectTimeout,
      disconnectTimeout: GOODBYE,
      // Nothing waits for a connection: the local answer is better than a late one.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      enableAutoPipelining: pipelined,
      retryStrategy: retryDelay,
      ...username !== undefined && { username },
      ...password !== undefined && { password }
    }
    let client: Client
    if (cluster !== undefined) {
      const nodes = cluster.map((node) => address(node, 6379))
      const { retryStrategy: _retry, enableOfflineQueue: _offline, ...redisOptions } = common
      client = new Cluster(nodes.map(({ host, port }) => ({ host, port })), {
        enableOfflineQueue: false,
        enableAutoPipelining: pipelined,
        clusterRetryStrategy: retryDelay,
        redisOptions: { ...redisOptions, ...nodes[0]!.tls !== undefined && { tls: nodes[0]!.tls } }
      })
    } else if (sentinel !== undefined) {
      const connector = new PrimaryConnector({
        clock: this.clock, sentinels: this.#sentinels!, tls: address(sentinel.nodes[0]!, 26379).tls, timeout: this.#connectTimeout
      })
      this.#connector ??= connector
      // The client insists on making it.
      client = new Redis({ ...common, Connector: function () { return connector } as unknown as NonNullable<ClientOptions['Connector']> })
    } else if (url.startsWith('redis+unix:')) client = new Redis({ ...common, path: new URL(url).pathname })
    else client = new Redis(url, common)
    // Each question finds out by itself.
    client.on('error', (error: Error) => { this.#reason = error.message })
    dropSilent(client, this.clock, this.#connectTimeout, () => { this.#reason = `no answer within ${this.#connectTimeout} ms of connecting` })
    return client
  }

  /**
   * Asks. Rejects with `HG_REDIS_AWAY` when there is no answer in time, or it is not even asked; with Redis' own error when it refuses.
   * `ms` replaces the usual time limit.
   */
  ask<T> (question: (client: Client) => Promise<T>, ms: number = this.timeout): Promise<T> {
    if (!this.#breaker.ask()) return Promise.reject(new RedisAwayError(`Redis is away: ${this.#reason}`))
    const { clock } = this
    return new Promise<T>((resolve, reject) => {
      let over = false
      const late = (): void => {
        if (over) return
        over = true
        // A server that hangs keeps its connections, though another one may have taken its place long ago.
        if (this.#breaker.open && this.client.status === 'ready' && !this.#hung) {
          this.#hung = true
          this.client.disconnect(true)
          this.emit('hung')
        }
        this.#fail(`no answer within ${ms} ms`)
        reject(new RedisAwayError(`Redis is away: ${this.#reason}`))
      }
      // Held up itself, this process may not have read yet what came in time: that is read before the end is called.
      const timer = clock.setTimeout(() => { setImmediate(late) }, ms)
      question(this.client).then((answer) => {
        if (over) return
        over = true
        clock.clearTimeout(timer)
        this.#breaker.succeeded()
        resolve(answer)
      }, (error: unknown) => {
        if (over) return
        over = true
        clock.clearTimeout(timer)
        if (isRefusal(error)) {
          this.#breaker.succeeded()
          return reject(error as Error)
        }
        this.#fail((error as Error).message)
        reject(new RedisAwayError(`Redis is away: ${this.#reason}`))
      })
    })
  }

  /** Resolves when it is connected, and after `ms` in any case: for those who have nothing to go by instead. */
  async connected (ms: number): Promise<void> {
    if (this.client.status === 'ready') return
    await new Promise<void>((resolve) => {
      const end = (): void => {
        this.clock.clearTimeout(timer)
        this.client.off('ready', end)
        resolve()
      }
      const timer = this.clock.setTimeout(end, ms, true)
      this.client.on('ready', end)
    })
  }

  close (): void {
    this.client.disconnect()
    this.#sentinels?.close()
  }

  #fail (reason: string): void {
    this.#reason = reason
    this.#breaker.failed()
  }
}
