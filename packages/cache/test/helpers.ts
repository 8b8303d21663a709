import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import balancer from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import { FakeClock } from '../../core/test/clock.ts'
import cache, { type CacheOptions } from '../src/index.ts'

export type Test = { teardown (action: () => unknown): void }

export class TestClock extends FakeClock {
  constructor () {
    super(Date.parse('2026-01-01T00:00:00Z'))
  }
}

export interface Origin {
  readonly url: string
  /** Requests that have come, oldest first. */
  readonly requests: IncomingMessage[]
}

/** A real server on a free port that keeps what it was asked. */
export async function origin (t: Test, listener: RequestListener): Promise<Origin> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    listener(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => new Promise<void>((resolve) => {
    server.closeAllConnections()
    server.close(() => { resolve() })
  }))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}

/** A listening app with the cache; `routes` adds what it serves. */
export async function app (
  t: Test, options: CacheOptions, routes: (app: FastifyInstance) => unknown
): Promise<{ app: FastifyInstance; url: string; port: number }> {
  const app = Fastify({ forceCloseConnections: true }) as FastifyInstance
  await app.register(cache, options)
  await routes(app)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { app, url, port: (app.server.address() as AddressInfo).port }
}

/** The cache in front of a balancer with one upstream. */
export async function proxied (
  t: Test, options: CacheOptions, listener: RequestListener
): Promise<Origin & { app: FastifyInstance; proxy: string; port: number }> {
  const upstream = await origin(t, listener)
  const { app: instance, url, port } = await app(t, options, (app) => app.register(balancer, {
    pools: { web: [upstream.url] }, routes: [{ prefix: '/', pool: 'web', retry: false }]
  }))
  return { ...upstream, app: instance, proxy: url, port }
}

/** Answers with a body that counts, and the fields given. */
export function counting (fields: Record<string, string>): RequestListener {
  let count = 0
  return (_request, response: ServerResponse) => {
    for (const name of Object.keys(fields)) response.setHeader(name, fields[name]!)
    response.end(`body ${++count}`)
  }
}

/** Sends raw bytes and gives what comes back until the peer closes or `until` is seen. */
export function raw (port: number, bytes: string, until?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => { socket.write(bytes, 'latin1') })
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      text += chunk
      if (until !== undefined && text.includes(until)) socket.destroy()
    })
    socket.on('close', () => { resolve(text) })
    socket.on('error', reject)
  })
}

/** Waits until something holds; for what happens after an answer. */
export async function eventually (holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => { setTimeout(resolve, 2) })
}
