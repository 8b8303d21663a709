import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Clock } from '@headgate/core'
import { AbstractConnector } from 'ioredis'
import { GOODBYE, retryDelay } from './client.ts'
import type { Follower, Sentinels } from './sentinels.ts'

const PING = '*1\r\n$4\r\nPING\r\n'

export interface ConnectorPlan {
  readonly clock: Clock
  readonly sentinels: Sentinels
  /** Of the server. */
  readonly tls: object | undefined
  /** Milliseconds for a connection and the first word on it. */
  readonly timeout: number
}

/**
 * Connects a client to the primary that the sentinels name. A server that hangs accepts connections too, and answers when it goes on, with no idea
 * of what came to pass meanwhile; so they are asked once more when it has said its first word, before the client gets to see the connection.
 */
export class PrimaryConnector extends AbstractConnector implements Follower {
  readonly #plan: ConnectorPlan
  #socket: Socket | undefined
  #address: string | undefined
  #session: object | undefined

  constructor (plan: ConnectorPlan) {
    super(GOODBYE)
    this.#plan = plan
    plan.sentinels.follow(this)
  }

  /** `host port` of the server, as the sentinels write it; `undefined` while there is no connection. */
  get address (): string | undefined { return this.#address }
  /** The present connection, as nothing but itself; `undefined` while there is none. */
  get session (): object | undefined { return this.#session }

  async connect (tell: (type: string, error: Error) => void): Promise<Socket> {
    this.connecting = true
    for (let times = 0; ; times++) {
      try {
        return this.stream = await this.#attempt()
      } catch (error) {
        if (!this.connecting) throw error
        tell('error', error as Error)
        await new Promise<void>((resolve) => { this.#plan.clock.setTimeout(resolve, retryDelay(times)) })
        if (!this.connecting) throw error
      }
    }
  }

  /** What the client has learnt of the server: one that takes itself for a replica is none to write to. */
  override check (info: { readonly role?: string } | undefined): boolean {
    return info?.role === undefined || info.role === 'master'
  }

  override disconnect (): void {
    super.disconnect()
    // Before the client has taken it over.
    if (this.#socket !== this.stream) this.#socket?.destroy()
  }

  /** Nothing that it may still say counts. */
  leave (primary: string): void {
    this.#socket?.destroy(new Error(`the sentinels name another primary, ${primary}`))
  }

  async #attempt (): Promise<Socket> {
    const { sentinels } = this.#plan
    const address = await sentinels.primary()
    if (!this.connecting) throw new Error('the connection was closed')
    const socket = await this.#reach(address)
    if (!await sentinels.name(address)) socket.destroy()
    if (socket.destroyed) throw new Error(`the sentinels do not name ${address} any more`)
    return socket
  }

  /** Resolves when the server has said something, be it that it wants a password first. */
  #reach (address: string): Promise<Socket> {
    const { clock, tls, timeout } = this.#plan
    const [host = '', port] = address.split(' ')
    return new Promise((resolve, reject) => {
      const where = { host, port: Number(port) }
      const socket = tls === undefined ? connectPlain(where) : connectTls({ ...where, ...tls })
      this.#socket = socket
      this.#address = address
      const session = this.#session = {}
      const timer = clock.setTimeout(() => { socket.destroy(new Error(`no answer within ${timeout} ms of connecting`)) }, timeout, true)
      let said = ''
      let problem = new Error('the server closed the connection')
      const hear = (bytes: Buffer): void => {
        said += bytes.toString('latin1')
        if (!said.endsWith('\r\n')) return
        clock.clearTimeout(timer)
        socket.off('data', hear)
        resolve(socket)
      }
      socket.once(tls === undefined ? 'connect' : 'secureConnect', () => { socket.write(PING) })
      socket.on('data', hear)
      socket.on('error', (error) => { problem = this.firstError = error })
      socket.once('close', () => {
        clock.clearTimeout(timer)
        if (this.#session === session) this.#address = this.#session = undefined
        reject(problem)
      })
    })
  }
}
