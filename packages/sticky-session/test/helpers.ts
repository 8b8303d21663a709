import { createServer, type IncomingHttpHeaders, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import balancer, { type BalancerOptions } from '@headgate/balancer'
import { channels, type StickyMessage } from '@headgate/core'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { FakeClock as Base } from '../../core/test/clock.ts'
import sticky, { type StickyOptions } from '../src/index.ts'

type Test = { teardown (action: () => unknown): void }

export const keys = ['a secret of more than thirty-two bytes, for tests']

/** Starts at a real date, which cookies need. */
export class FakeClock extends Base {
  constructor () {
    super(1_750_000_000_000)
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
