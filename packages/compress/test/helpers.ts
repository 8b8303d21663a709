import { type IncomingHttpHeaders, type IncomingMessage, type RequestListener, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import zlib from 'node:zlib'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { FakeClock as Base } from '../../core/test/clock.ts'
import compress, { type CompressOptions } from '../src/index.ts'

type Test = { teardown (action: () => unknown): void }

/** An app with the plugin, listening; closed with the test. Tests keep the machine busy, so load matters only where it is asked for. */
export async function listen (
  t: Test, options: CompressOptions, prepare: (app: FastifyInstance) => unknown, server: FastifyServerOptions = {}, before?: (app: FastifyInstance) => unknown
): Promise<{ app: FastifyInstance; url: string; port: number }> {
  const app = Fastify({ forceCloseConnections: true, ...server }) as FastifyInstance
  await before?.(app)
  await app.register(compress, { load: false, ...options })
  await prepare(app)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { app, url, port: (app.server.address() as AddressInfo).port }
}

/** A real server on a free port; closed with the test. */
export async function upstream (t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => new Promise((resolve) => {
    server.closeAllConnections()
    server.close(resolve)
  }))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** It ended as it was announced. */
  readonly complete: boolean
}

/** The response's head; the body is to be read by the caller. Nothing is decoded, and no field is added to those given. */
export function open (url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request(url, { method, headers: { host: new URL(url).host, ...headers }, agent: false }, resolve).on('error', reject).end()
  })
}

export async function get (url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  const response = await open(url, headers, method)
  const pieces: Buffer[] = []
  await new Promise<void>((resolve) => {
    response.on('data', (piece: Buffer) => pieces.push(piece)).on('close', resolve).on('error', () => {})
  })
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(pieces), complete: response.complete }
}

const decoders: Record<string, (body: Buffer) => Buffer> = {
  gzip: zlib.gunzipSync, deflate: zlib.inflateSync, br: zlib.brotliDecompressSync, identity: (body) => body,
  ...'zstdDecompressSync' in zlib && { zstd: zlib.zstdDecompressSync as (body: Buffer) => Buffer }
}

export function decoded ({ headers, body }: Answer): Buffer {
  return decoders[headers['content-encoding'] ?? 'identity']!(body)
}

/** JSON of `size` bytes that compresses as JSON does. */
export function text (size: number, seed = 1): string {
  let state = seed
  const next = (): number => state = (state * 48_271) % 2_147_483_647
  let result = '['
  while (result.length < size) result += `{"id":${next()},"name":"user ${next() % 1000}","tags":["a","b${next() % 7}"],"ok":true},`
  return result.slice(0, size)
}

export class FakeClock extends Base {
  constructor () {
    super(0)
  }
}
