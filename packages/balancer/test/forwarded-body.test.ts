import { once } from 'node:events'
import { type IncomingMessage, createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Readable, Transform } from 'node:stream'
import { createGzip, gunzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { proxy, raw, upstream } from './helpers.ts'

const web = (url: string): { pools: { web: [string] }; routes: [{ prefix: string; pool: 'web' }] } => ({ pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] })

/** No two places alike, so that a piece that was written over shows. */
function pattern (size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i < size; i++) bytes[i] = Math.imul(i + seed, 0x9e3779b1) >>> 13
  return bytes
}

async function bodyOf (response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of response) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })

const asked = fc.record({
  size: fc.oneof(fc.nat(2000), fc.integer({ min: 30_000, max: 900_000 })),
  cuts: fc.array(fc.integer({ min: 0, max: 100 }).map((percent) => percent / 100), { maxLength: 4 }),
  sized: fc.boolean()
})

/** Each is an onSend hook as people write them; what they get as body goes on. */
const hooks: Record<string, (app: FastifyInstance) => void> = {
  'a callback': (app) => { app.addHook('onSend', (_request, reply, payload, done) => { void reply.header('x-hook', '1'); done(null, payload) }) },
  'an async one': (app) => { app.addHook('onSend', async (_request, reply) => { void reply.header('x-hook', '1') }) },
  'one that takes some turns': (app) => {
    app.addHook('onSend', async (_request, reply) => {
      for (let i = 0; i < 3; i++) await turn()
      void reply.header('x-hook', '1')
    })
  },
  'one that listens to the body': (app) => {
    app.addHook('onSend', (_request, reply, payload, done) => {
      void reply.header('x-hook', '1')
      if (typeof (payload as Readable | undefined)?.on === 'function') (payload as Readable).on('data', () => {})
      done(null, payload)
    })
  },
  'one that takes the length away': (app) => {
    app.addHook('onSend', (_request, reply, payload, done) => { void reply.header('x-hook', '1').removeHeader('content-length'); done(null, payload) })
  },
  'one that puts a stream of its own in its place': (app) => {
    app.addHook('onSend', (_request, reply, payload, done) => {
      void reply.header('x-hook', '1').removeHeader('content-length')
      const through = new Transform({ transform: (piece, _encoding, next) => { next(null, piece) } })
      if (typeof (payload as Readable | undefined)?.pipe === 'function') done(null, (payload as Readable).pipe(through))
      else done(null, payload)
    })
  }
}

for (const [name, add] of Object.entries(hooks)) {
  t.test(`through ${name}, bodies in any pieces arrive as they were, several at once`, async (t) => {
    const bodies = new Map<string, { body: Buffer; cuts: number[]; sized: boolean }>()
    const { url } = await upstream(t, async (request, response) => {
      const { body, cuts, sized } = bodies.get(request.url!)!
      response.writeHead(200, { 'content-type': 'application/octet-stream', ...sized && { 'content-length': body.length } })
      let at = 0
      for (const cut of [...cuts.toSorted((a, b) => a - b), 1]) {
        const end = Math.floor(body.length * cut)
        if (!response.write(body.subarray(at, at = end)) && !response.destroyed) await once(response, 'drain')
        if (cut !== 1) await turn()
      }
      response.end()
    })
    const { port } = await proxy(t, web(url), add)
    let answers = 0
    await fc.assert(fc.asyncProperty(
      fc.array(asked, { minLength: 1, maxLength: 4 }),
      async (several) => {
        await Promise.all(several.map(async ({ size, cuts, sized }) => {
          const path = `/${answers++}`
          const body = pattern(size, answers)
          bodies.set(path, { body, cuts, sized })
          const [response] = await once(get({ port, host: '127.0.0.1', path, agent: false }), 'response') as [IncomingMessage]
          const got = await bodyOf(response)
          t.equal(response.headers['x-hook'], '1')
          t.ok(got.equals(body), `${size} bytes, cut at ${cuts.join(' ')}`)
        }))
      }
    ), { numRuns: 25 })
  })
}

for (const through of ['no hook', 'a callback']) {
  t.test(`who has put his own write in place of the response's may keep what he gets (${through})`, async (t) => {
    // The last piece of a long one may be as short as a short one.
    const bodies = Array.from({ length: 10 }, (_, i) => pattern(i < 8 ? 400_000 : 1000, i * 1000))
    const { url } = await upstream(t, (request, response) => { response.setHeader('content-type', 'text/plain').end(bodies[Number(request.url!.slice(1))]) })
    const { port } = await proxy(t, web(url), (app) => {
      hooks[through]?.(app)
      // As Express's `compression` does it.
      app.addHook('onRequest', (_request, reply, done) => {
        const { raw } = reply
        const { write, end } = raw
        const gzip = createGzip({ level: 9 })
        gzip.on('data', (piece) => { write.call(raw, piece, 'latin1') })
        gzip.on('drain', () => { raw.emit('drain') })
        gzip.on('end', () => { (end as () => void).call(raw) })
        raw.writeHead = new Proxy(raw.writeHead, {
          apply (writeHead, self, [status, ...rest]) {
            raw.removeHeader('content-length')
            const given = rest.at(-1) as string[] | Record<string, string> | undefined
            const fields = Array.isArray(given)
              ? given.flatMap((value, i) => i % 2 === 0 && !/^content-length$/i.test(value) ? [value, given[i + 1]] : [])
              : { ...given, 'content-length': [] }
            return Reflect.apply(writeHead, self, [status, fields])
          }
        })
        raw.write = ((piece: Buffer) => gzip.write(piece)) as never
        raw.end = ((piece?: Buffer) => { gzip.end(piece); return raw }) as never
        done()
      })
    })
    await Promise.all(bodies.map(async (body, i) => {
      const [response] = await once(get({ port, host: '127.0.0.1', path: `/${i}`, agent: false }), 'response') as [IncomingMessage]
      t.ok(gunzipSync(await bodyOf(response)).equals(body), `body ${i}`)
    }))
  })
}

t.test('through a hook, the head of events is there before the first of them', async (t) => {
  let first: (() => void) | undefined
  const { url } = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    first = () => { response.end('data: 1\n\n') }
  })
  const { port } = await proxy(t, web(url), hooks['a callback'])
  const [response] = await once(get({ port, host: '127.0.0.1', agent: false }), 'response') as [IncomingMessage]
  first!()
  t.equal(String(await bodyOf(response)), 'data: 1\n\n')
})

t.test('through a hook, a body that breaks off breaks off for the client, and the lease is given back', async (t) => {
  const { url } = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 1_000_000 })
    response.write(pattern(300_000, 0), () => { response.destroy() })
  })
  const { app, port } = await proxy(t, web(url), hooks['a callback'])
  const [response] = await once(get({ port, host: '127.0.0.1', agent: false }), 'response') as [IncomingMessage]
  await t.rejects(bodyOf(response), { code: 'ECONNRESET' })
  t.equal(app.balancer.pools.get('web')!.inFlight, 0)
})

t.test('through a hook, a client that leaves is left, and so is the upstream', async (t) => {
  let closed: Promise<unknown> | undefined
  const server = createServer((_request, response) => {
    closed = once(response, 'close')
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 50_000_000 })
    const more = (): void => {
      while (!response.destroyed && response.write(pattern(65_536, 0)));
      response.once('drain', more)
    }
    more()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const { app, port } = await proxy(t, web(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), hooks['a callback'])
  const [response] = await once(get({ port, host: '127.0.0.1', agent: false }), 'response') as [IncomingMessage]
  await once(response, 'data')
  response.destroy()
  await closed
  t.equal(app.balancer.pools.get('web')!.inFlight, 0)
})

t.test('through a hook, a connection is kept after a large body, and the next request is answered on it', async (t) => {
  const body = pattern(500_000, 7)
  const { url } = await upstream(t, (request, response) => { response.setHeader('content-type', 'text/plain').end(request.url === '/last' ? 'over' : body) })
  const { port } = await proxy(t, web(url), hooks['a callback'])
  const text = await raw(port, 'GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
  const expected = body.toString('latin1')
  t.equal(text.split(expected).length, 3)
  t.ok(text.endsWith('\r\n\r\nover'))
})
