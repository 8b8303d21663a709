import { once } from 'node:events'
import { connect, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import grpc from '@grpc/grpc-js'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import fc from 'fast-check'
import balancer, { type BalancerOptions } from '../src/index.ts'
import { formatGrpcTimeout, grpcMessage, grpcTimeout } from '../src/grpc.ts'
import { refusing, until } from './helpers.ts'

const text = { requestSerialize: Buffer.from, requestDeserialize: String, responseSerialize: Buffer.from, responseDeserialize: String }
const shape = (name: string, requestStream: boolean, responseStream: boolean): grpc.MethodDefinition<string, string> =>
  ({ path: `/test.Echo/${name}`, requestStream, responseStream, ...text } as never)
const service = {
  unary: shape('Unary', false, false), down: shape('Down', false, true), up: shape('Up', true, false), both: shape('Both', true, true)
}
/** What a generic client and its calls have comes from the table above, which no type follows. */
// eslint-disable-next-line typescript/no-explicit-any
type Loose = any
type Handlers = Partial<Record<keyof typeof service, (call: Loose, callback: Loose) => void>>

function settle<T> (resolve: (value: T) => void, reject: (error: Error) => void): (error: Error | null, value: T) => void {
  return (error, value) => {
    if (error === null) resolve(value)
    else reject(error)
  }
}

/** A real gRPC server. */
async function echo (t: Test, handlers: Handlers): Promise<{ url: string; server: grpc.Server }> {
  const server = new grpc.Server()
  const all = Object.fromEntries(Object.keys(service).map((name) => [name, handlers[name as keyof typeof service] ?? (() => {})]))
  server.addService(service, all as never)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), settle(resolve, reject))
  })
  t.teardown(() => { server.forceShutdown() })
  return { url: `http://127.0.0.1:${port}`, server }
}

async function proxy (
  t: Test, upstreams: string[], route: object = {}, hook = false, pool: object = {}
): Promise<{ app: FastifyInstance; client: Loose; port: number }> {
  const app = Fastify({ http2: true }) as never as FastifyInstance
  if (hook) app.addHook('onSend', async (_request, _reply, payload) => payload)
  const options: BalancerOptions = { pools: { rpc: { upstreams, protocol: 'h2c', slowStart: 0, policy: 'first', ...pool } }, routes: [{ prefix: '/', pool: 'rpc', ...route }] }
  await app.register(balancer, options)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const Client = grpc.makeGenericClientConstructor(service as never, 'Echo')
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { 'grpc.enable_retries': 0 })
  t.teardown(async () => {
    client.close()
    await app.close()
  })
  return { app, client, port }
}

interface Outcome { error: grpc.ServiceError | null; value: string | undefined; trailers: grpc.Metadata; headers: grpc.Metadata | undefined }
const unary = (client: Loose, value: string, metadata = new grpc.Metadata(), options = {}): Promise<Outcome> => new Promise((resolve) => {
  let error: grpc.ServiceError | null
  let given: string | undefined
  let headers: grpc.Metadata | undefined
  const call = client.unary(value, metadata, options, (e: grpc.ServiceError | null, v: string) => { [error, given] = [e, v] })
  call.on('metadata', (md: grpc.Metadata) => { headers = md })
  call.on('status', ({ metadata: trailers }: grpc.StatusObject) => { setImmediate(() => { resolve({ error, value: given, trailers, headers }) }) })
})
const stream = (call: Loose): Promise<{ code: number; details: string; got: string[]; trailers: grpc.Metadata }> => new Promise((resolve) => {
  const got: string[] = []
  call.on('data', (message: string) => { got.push(message) })
  call.on('error', () => {})
  call.on('status', ({ code, details, metadata }: grpc.StatusObject) => { setImmediate(() => { resolve({ code, details, got, trailers: metadata }) }) })
})

for (const hook of [false, true]) {
  t.test(`all four shapes, metadata and trailers${hook ? ', through onSend' : ''}`, async (t) => {
    const large = 'x'.repeat(300_000)
    const { url } = await echo(t, {
      unary: (call, callback) => {
        if (call.request === 'refuse') return callback({ code: grpc.status.NOT_FOUND, details: 'no such thing' })
        const head = new grpc.Metadata()
        head.set('x-head', String(call.metadata.get('x-in')[0]))
        head.set('data-bin', call.metadata.get('data-bin')[0])
        call.sendMetadata(head)
        const trailers = new grpc.Metadata()
        trailers.add('x-trailer', 'one')
        trailers.add('x-trailer', 'two')
        if (call.request === 'fail') return callback({ code: grpc.status.INVALID_ARGUMENT, details: 'ungültig: 100 %', metadata: trailers })
        callback(null, call.request, trailers)
      },
      down: (call) => {
        for (let i = 0; i < 5; i++) call.write(`${call.request} ${i}`)
        call.write(large)
        call.end()
      },
      up: (call, callback) => {
        let whole = ''
        call.on('data', (message: string) => { whole += message })
        call.on('end', () => { callback(null, whole) })
      },
      both: (call) => {
        call.on('data', (message: string) => { call.write(`re: ${message}`) })
        call.on('end', () => { call.end() })
      }
    })
    const { client } = await proxy(t, [url], {}, hook)
    const metadata = new grpc.Metadata()
    metadata.set('x-in', 'value')
    metadata.set('data-bin', Buffer.from([0, 255, 10]))
    const answer = await unary(client, 'hello', metadata)
    t.equal(answer.value, 'hello')
    t.equal(answer.headers!.get('x-head')[0], 'value')
    t.same(answer.headers!.get('data-bin')[0], Buffer.from([0, 255, 10]))
    t.match(answer.trailers.get('x-trailer').join(', '), 'one, two')
    const failed = await unary(client, 'fail', metadata)
    t.match(failed.error, { code: grpc.status.INVALID_ARGUMENT, details: 'ungültig: 100 %' })
    t.match((await unary(client, 'refuse')).error, { code: grpc.status.NOT_FOUND, details: 'no such thing' }, 'a head that is all')
    t.equal((await unary(client, large, metadata)).value, large)

    const down = await stream(client.down('down'))
    t.equal(down.code, grpc.status.OK)
    t.same(down.got, ['down 0', 'down 1', 'down 2', 'down 3', 'down 4', large])

    const up = await new Promise<string>((resolve, reject) => {
      const call = client.up(settle(resolve, reject))
      for (const part of ['a', 'b', large]) call.write(part)
      call.end()
    })
    t.equal(up, `ab${large}`)

    // One after the other, so that both directions are open at once.
    const both = client.both()
    const over = stream(both)
    for (const part of ['1', '2', '3']) {
      both.write(part)
      const [message] = await once(both, 'data')
      t.equal(message, `re: ${part}`)
    }
    both.end()
    t.match(await over, { code: grpc.status.OK, got: ['re: 1', 're: 2', 're: 3'] })
  })
}

t.test('UNAVAILABLE is tried elsewhere before the first message, never after it', async (t) => {
  const asked: string[] = []
  const bad = await echo(t, {
    unary: (_call, callback) => {
      asked.push('bad unary')
      callback({ code: grpc.status.UNAVAILABLE, details: 'not now' })
    },
    down: (call) => {
      asked.push('bad down')
      if (call.request === 'late') call.write('first')
      call.emit('error', { code: grpc.status.UNAVAILABLE, details: 'gone' })
    },
    up: (call, callback) => {
      asked.push('bad up')
      call.once('data', () => { callback({ code: grpc.status.UNAVAILABLE, details: 'not now' }) })
    }
  })
  const good = await echo(t, {
    unary: (call, callback) => { callback(null, `good ${call.request}`) },
    down: (call) => {
      call.write('good')
      call.end()
    },
    up: (call, callback) => {
      let whole = ''
      call.on('data', (message: string) => { whole += message })
      call.on('end', () => { callback(null, whole) })
    }
  })
  const { client } = await proxy(t, [bad.url, good.url])
  t.equal((await unary(client, 'a')).value, 'good a')
  t.match(await stream(client.down('early')), { code: grpc.status.OK, got: ['good'] })
  t.match(await stream(client.down('late')), { code: grpc.status.UNAVAILABLE, details: 'gone', got: ['first'] })
  const up = await new Promise<string>((resolve, reject) => {
    const call = client.up(settle(resolve, reject))
    call.write('kept ')
    void until(() => asked.includes('bad up')).then(() => {
      call.write('and more')
      call.end()
    })
  })
  t.equal(up, 'kept and more', 'a stream of requests is repeated as long as it is kept')
  t.same(asked, ['bad unary', 'bad down', 'bad down', 'bad up'])
  const off = await proxy(t, [bad.url, good.url], { retry: false })
  t.match((await unary(off.client, 'a')).error, { code: grpc.status.UNAVAILABLE, details: 'not now' })
})

t.test('what the proxy answers itself is a gRPC status', async (t) => {
  const nobody = await proxy(t, [await refusing()])
  t.match((await unary(nobody.client, 'a')).error, { code: grpc.status.UNAVAILABLE, details: 'The upstream failed' })
  const empty = await proxy(t, ['http://127.0.0.1:1;weight=0'])
  t.match((await unary(empty.client, 'a')).error, { code: grpc.status.UNAVAILABLE, details: 'No upstream is ready' })
  const small = await proxy(t, [await refusing()], { bodyLimit: 10, retry: false })
  t.ok([grpc.status.RESOURCE_EXHAUSTED, grpc.status.UNAVAILABLE].includes((await unary(small.client, 'x'.repeat(1000))).error!.code))

  const { url, server } = await echo(t, { down: (call) => { call.write('first') } })
  const broken = await proxy(t, [url])
  const call = broken.client.down('x')
  const over = stream(call)
  call.once('data', () => { server.forceShutdown() })
  t.match(await over, { code: grpc.status.UNAVAILABLE, got: ['first'] }, 'also when it breaks off later')
})

t.test('a deadline: passed on with what is left of it, and kept', async (t) => {
  const timeouts: string[] = []
  let cancelled = 0
  const server = createHttp2Server()
  server.on('stream', (stream, headers) => {
    timeouts.push(String(headers['grpc-timeout']))
    stream.on('error', () => {}).on('close', () => { if (stream.rstCode === 8) cancelled++ })
    if (headers[':path'] === '/begun') {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
      stream.write(Buffer.from([0, 0, 0, 0, 1, 65]))
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { port } = await proxy(t, [`http://127.0.0.1:${(server.address() as AddressInfo).port}`])
  const session = connect(`http://127.0.0.1:${port}`)
  t.teardown(() => { session.destroy() })
  const ask = async (path: string, timeout: string): Promise<Record<string, unknown>> => {
    const request = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc+proto', te: 'trailers', 'grpc-timeout': timeout }, { endStream: true })
    let trailers: Record<string, unknown> = {}
    request.on('trailers', (fields: Record<string, unknown>) => { trailers = fields })
    const [headers] = await once(request, 'response') as [Record<string, unknown>]
    request.resume()
    await once(request, 'end')
    return { ...headers, ...trailers }
  }
  t.match(await ask('/quiet', '60m'), { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '4', 'grpc-message': String })
  t.match(await ask('/begun', '300m'), { ':status': 200, 'grpc-status': '4' }, 'after the head in the trailers')
  await until(() => cancelled === 2)
  for (const [index, most] of [60, 300].entries()) {
    const [, left] = /^(\d+)m$/.exec(timeouts[index]!) ?? []
    t.ok(Number(left) >= 1 && Number(left) <= most, timeouts[index]!)
  }
})

t.test('a call that is cancelled is cancelled upstream, before and after the first message', async (t) => {
  let started = 0
  let cancelled = 0
  const { url } = await echo(t, {
    down: (call) => {
      started++
      call.on('cancelled', () => { cancelled++ })
      if (call.request === 'begun') call.write('first')
    }
  })
  const { client } = await proxy(t, [url])
  for (const [index, value] of ['quiet', 'begun'].entries()) {
    const call = client.down(value)
    const over = stream(call)
    if (value === 'begun') await once(call, 'data')
    else await until(() => started === index + 1)
    call.cancel()
    t.equal((await over).code, grpc.status.CANCELLED)
    await until(() => cancelled === index + 1)
  }
})

t.test('grpc-timeout and grpc-message', async (t) => {
  t.equal(grpcTimeout('1S'), 1000)
  t.equal(grpcTimeout('2H'), 7_200_000)
  t.equal(grpcTimeout('5u'), 0.005)
  for (const wrong of [undefined, '', '1', 'S', '-1S', '123456789S', '1.5S', '1s', ['1S']]) t.equal(grpcTimeout(wrong), undefined)
  fc.assert(fc.property(fc.double({ min: 0.001, max: 3e14, noNaN: true }), (ms) => {
    const written = formatGrpcTimeout(ms)
    const read = grpcTimeout(written)!
    return read >= ms && read <= Math.max(ms + 1, ms * 1.001, ms + 3_600_000 * Number(written.endsWith('H')))
  }))
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (message) => {
    const written = grpcMessage(message)
    return /^[\x20-\x7e]*$/.test(written) && decodeURIComponent(written) === Buffer.from(message).toString()
  }))
})
