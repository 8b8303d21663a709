import { createServer, type IncomingHttpHeaders, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import balancer, { type BalancerOptions } from '@headgate/balancer'
import { channels, type Clock, type StickyMessage } from '@headgate/core'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import sticky, { type StickyOptions } from '../src/index.ts'

type Test = { teardown (action: () => unknown): void }

export const keys = ['a secret of more than thirty-two bytes, for tests']

/** Time that stands still until a test moves it; timers run in the order of their times. */
export class FakeClock implements Clock {
  time = 1_750_000_000_000
  readonly #timers = new Map<number, { at: number; callback: () => void }>()
  #next = 1

  now (): number { return this.time }
  wall (): number { return this.time }

  setTimeout (callback: () => void, ms: number): number {
    this.#timers.set(this.#next, { at: this.time + ms, callback })
    return this.#next++
  }

  clearTimeout (timer: unknown): void {
    this.#timers.delete(timer as number)
  }

  advance (ms: number): void {
    const end = this.time + ms
    for (;;) {
      let due: [number, { at: number; callback: () => void }] | undefined
      for (const entry of this.#timers) if (entry[1].at <= end && (due === undefined || entry[1].at < due[1].at)) due = entry
      if (due === undefined) break
      this.#timers.delete(due[0])
      this.time = Math.max(this.time, due[1].at)
      due[1].callback()
    }
    this.time = end
  }
}

export interface Origin {
  readonly name: string
  readonly url: string
  readonly server: Server
  /** Header fields of the requests that reached it. */
  readonly seen: IncomingHttpHeaders[]
  stop (): Promise<void>
}

/** A real server on a free port that answers with its name, unless told otherwise; closed with the test. */
export async function origin (t: Test, name: string, listener?: RequestListener): Promise<Origin> {
  const seen: IncomingHttpHeaders[] = []
  const server = createServer((request, response) => {
    seen.push(request.headers)
    if (listener === undefined) response.end(name)
    else listener(request, response)
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const stop = (): Promise<void> => new Promise((resolve) => {
    server.closeAllConnections()
    server.close(() => { resolve() })
  })
  t.teardown(stop)
  return { name, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, seen, stop }
}

/** One for each letter. */
export function origins (t: Test, names: string, listener?: (name: string, request: IncomingMessage, response: ServerResponse) => void): Promise<Origin[]> {
  return Promise.all(names.split('').map((name) => {
    const own: RequestListener | undefined = listener === undefined ? undefined : (request, response) => { listener(name, request, response) }
    return origin(t, name, own)
  }))
}

/** Members whose ids are their names. */
export const members = (list: readonly Origin[]): { id: string; url: string }[] => list.map(({ name, url }) => ({ id: name, url }))

export interface ProxyOptions {
  readonly balancer: BalancerOptions
  readonly sticky?: StickyOptions
  readonly before?: (app: FastifyInstance) => unknown
  readonly after?: (app: FastifyInstance) => unknown
  readonly server?: FastifyServerOptions
}

/** An app with balancer and sticky sessions, listening; closed with the test. */
export async function proxy (t: Test, options: ProxyOptions): Promise<{ app: FastifyInstance; url: string; port: number }> {
  const app = Fastify({ forceCloseConnections: true, ...options.server }) as FastifyInstance
  t.teardown(() => app.close())
  await options.before?.(app)
  await app.register(balancer, options.balancer)
  await app.register(sticky, options.sticky ?? { keys })
  await options.after?.(app)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, url, port: (app.server.address() as AddressInfo).port }
}

/** A pool `web` of these origins under `/`. */
export function site (
  t: Test, list: readonly Origin[], options: StickyOptions = { keys }, pool: object = {}, more: Partial<ProxyOptions> = {}
): ReturnType<typeof proxy> {
  return proxy(t, {
    balancer: { pools: { web: { upstreams: members(list), policy: 'round-robin', ...pool } }, routes: [{ prefix: '/', pool: 'web' }] }, sticky: options, ...more
  })
}

/** What became of sessions, in order, from now on. */
export function results (t: Test, app: () => FastifyInstance | undefined): string[] {
  const list: string[] = []
  const listener = (message: unknown): void => {
    const { result, source } = message as StickyMessage
    if (app()?.balancer.pools.get(source.name) === source) list.push(result)
  }
  channels.sticky.subscribe(listener)
  t.teardown(() => { channels.sticky.unsubscribe(listener) })
  return list
}

/** The name=value part of the cookies that a response sets. */
export function cookiesOf (response: { headers: Headers }): string[] {
  return response.headers.getSetCookie().map((field) => field.split(';', 1)[0]!)
}
