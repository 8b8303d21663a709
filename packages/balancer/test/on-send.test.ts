import { once } from 'node:events'
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { type Socket, connect } from 'node:net'
import { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { proxy, raw, rawUpstream, until } from './helpers.ts'

// Short answers, which hooks get as one Buffer, to the byte: what they leave alone is written otherwise than what they change.

const HEAD = 'X-First: 1\r\nSet-Cookie: a=1\r\nContent-Type: text/plain\r\nVary: Accept\r\nset-cookie: b=2\r\nDate: then\r\nX-Dup: 1\r\nx-dup: 2\r\nConstructor: c\r\n'
const answers: Record<string, string> = {
  '/body': `HTTP/1.1 200 Quite Fine\r\n${HEAD}Content-Length: 5\r\n\r\nh\xe9llo`,
  '/empty': `HTTP/1.1 201 Made\r\n${HEAD}Content-Length: 0\r\n\r\n`,
  '/304': `HTTP/1.1 304 Same\r\n${HEAD}Content-Length: 5\r\n\r\n`,
  '/head': `HTTP/1.1 200 OK\r\n${HEAD}Content-Length: 5\r\n\r\n`,
  '/long': `HTTP/1.1 200 OK\r\n${HEAD}Content-Length: 15500\r\n\r\n${'x'.repeat(15_500)}`,
  '/trailer': `HTTP/1.1 200 OK\r\n${HEAD}Transfer-Encoding: chunked\r\nTrailer: Content-Type\r\n\r\n1\r\nx\r\n0\r\nContent-Type: b/c\r\n\r\n`
}
const fields = ['x-first: 1', 'set-cookie: a=1', 'set-cookie: b=2', 'content-type: text/plain', 'vary: Accept', 'date: then', 'x-dup: 1', 'x-dup: 2', 'constructor: c']
const text = (status: string, lines: readonly string[], body = ''): string => [`HTTP/1.1 ${status}`, ...lines, 'Connection: close', '', body].join('\r\n')

type Hook = (request: FastifyRequest, reply: FastifyReply, payload: unknown, done: (error?: Error | null, payload?: unknown) => void) => unknown
interface Case {
  hooks: Hook[]
  before?: (request: FastifyRequest, reply: FastifyReply) => void
  expected: string
}

const leave: Hook = (_request, _reply, payload, done) => { done(null, payload) }
const untouched = text('200 OK', [...fields, 'content-length: 5'], 'h\xe9llo')

const cases: Record<string, Case> = {
  'a callback that gives it back': { hooks: [leave], expected: untouched },
  'a callback that gives nothing': { hooks: [(_request, _reply, _payload, done) => { done() }], expected: untouched },
  'several, one of them async': { hooks: [leave, async () => {}, async (_request, _reply, payload) => { await turn(); return payload }, leave], expected: untouched },
  'one that sets, adds and removes fields': {
    hooks: [(_request, reply, _payload, done) => {
      t.same([reply.getHeader('X-First'), reply.getHeader('set-cookie'), reply.statusCode], ['1', ['a=1', 'b=2'], 200])
      reply.header('X-First', '2').header('Set-Cookie', 'c=3').header('X-Own', 'o').removeHeader('x-dup')
      done()
    }],
    expected: text('200 OK', ['x-first: 2', 'set-cookie: a=1', 'set-cookie: b=2', 'set-cookie: c=3', 'content-type: text/plain', 'vary: Accept', 'date: then', 'constructor: c', 'content-length: 5', 'x-own: o'], 'h\xe9llo')
  },
  'one that sets another status': { hooks: [async (_request, reply) => { reply.code(202) }], expected: text('202 Accepted', [...fields, 'content-length: 5'], 'h\xe9llo') },
  'one that makes it a 204': {
    hooks: [async (_request, reply) => { reply.code(204) }], expected: text('204 No Content', fields.filter((line) => !line.startsWith('content-type')))
  },
  'one that makes it a 304 and leaves the body': { hooks: [async (_request, reply) => { reply.code(304) }], expected: text('304 Not Modified', [...fields, 'content-length: 5']) },
  'one that wants it in chunks': {
    hooks: [async (_request, reply) => { reply.removeHeader('content-length').header('transfer-encoding', 'chunked') }],
    expected: text('200 OK', [...fields, 'transfer-encoding: chunked', 'content-length: 5'], '5\r\nh\xe9llo\r\n0\r\n\r\n')
  },
  'one that takes the length away': { hooks: [async (_request, reply) => { reply.removeHeader('content-length') }], expected: untouched },
  'one that writes into the Buffer': {
    hooks: [(_request, _reply, payload, done) => { (payload as Buffer)[0] = 0x48; done(null, payload) }], expected: text('200 OK', [...fields, 'content-length: 5'], 'H\xe9llo')
  },
  'one that gives a text': { hooks: [async () => 'other'.repeat(3)], expected: text('200 OK', [...fields, 'content-length: 15'], 'otherotherother') },
  'one that gives another Buffer of the same length': { hooks: [async () => Buffer.from('other')], expected: text('200 OK', [...fields, 'content-length: 5'], 'other') },
  'one that gives a part of it': { hooks: [async (_request, _reply, payload) => (payload as Buffer).subarray(0, 1)], expected: text('200 OK', [...fields, 'content-length: 1'], 'h') },
  'one that gives a stream': {
    hooks: [async (_request, reply) => { reply.removeHeader('content-length'); return Readable.from([Buffer.from('stream')]) }],
    expected: text('200 OK', [...fields, 'Transfer-Encoding: chunked'].toSpliced(-1), '').replace('Connection: close', 'Connection: close\r\nTransfer-Encoding: chunked') + '6\r\nstream\r\n0\r\n\r\n'
  },
  'one that gives null': { hooks: [async () => null], expected: text('200 OK', [...fields, 'content-length: 0']) },
  'one that fails': { hooks: [async (_request, reply) => { if (reply.statusCode < 400) throw Object.assign(new Error('no'), { statusCode: 418 }) }], expected: '418' },
  'one that sets a field that cannot be': { hooks: [async (_request, reply) => { if (reply.statusCode < 400) reply.header('x-own', 'a\nb'); else reply.removeHeader('x-own') }], expected: '500' },
  'one that is done twice': { hooks: [(_request, _reply, payload, done) => { done(null, payload); done(null, payload) }], expected: untouched },
  'one that sets trailers': {
    hooks: [async (_request, reply) => { reply.removeHeader('content-length').trailer('x-end', async () => 'e') }],
    expected: text('200 OK', [...fields, 'transfer-encoding: chunked', 'trailer: x-end'], '5\r\nh\xe9llo\r\n0\r\nx-end: e\r\n\r\n')
  },
  "any, after the app's own fields": {
    before (_request, reply) { void reply.header('X-First', 'app').header('vary', 'Origin').header('set-cookie', 'own=1').header('content-length', 99).header('x-app', 1) },
    hooks: [leave],
    expected: text('200 OK', ['set-cookie: a=1', 'set-cookie: b=2', 'set-cookie: own=1', 'content-type: text/plain', 'date: then', 'x-dup: 1', 'x-dup: 2', 'constructor: c', 'content-length: 5', 'x-first: app', 'vary: Origin, Accept', 'x-app: 1'], 'h\xe9llo')
  },
  "any, after fields of the response's own": {
    before (_request, reply) { reply.raw.setHeader('X-First', 'raw').setHeader('X-Raw', ['1', '2']) },
    hooks: [leave],
    expected: text('200 OK', ['set-cookie: a=1', 'set-cookie: b=2', 'content-type: text/plain', 'vary: Accept', 'date: then', 'x-dup: 1', 'x-dup: 2', 'constructor: c', 'content-length: 5', 'x-first: raw', 'x-raw: 1', 'x-raw: 2'], 'h\xe9llo')
  }
}

const close = (path: string, method = 'GET'): string => `${method} ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`

async function app (t: Parameters<typeof rawUpstream>[0], prepare: (app: FastifyInstance) => void): Promise<number> {
  const url = await rawUpstream(t, (socket, head) => { socket.write(answers[/ (\S+)/.exec(head)![1]!]!, 'latin1') })
  const { port } = await proxy(t, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] }, prepare)
  return port
}

for (const [name, { hooks, before, expected }] of Object.entries(cases)) {
  t.test(`through ${name}`, async (t) => {
    const port = await app(t, (app) => {
      if (before !== undefined) app.addHook('onRequest', async (request, reply) => { before(request, reply) })
      for (const hook of hooks) app.addHook('onSend', hook as never)
    })
    const got = await raw(port, close('/body'))
    if (expected.length > 3) t.equal(got, expected)
    else t.match(got, new RegExp(`^HTTP/1\\.1 ${expected} `))
  })
}

t.test('an answer without a body stays without, or gets the one that a hook gives', async (t) => {
  const seen: unknown[] = []
  const port = await app(t, (app) => {
    app.addHook('onSend', async (request, _reply, payload) => {
      seen.push(payload)
      return request.headers['x-body'] ?? payload
    })
  })
  t.equal(await raw(port, close('/empty')), text('201 Created', [...fields, 'content-length: 0']))
  t.equal(await raw(port, close('/304')), text('304 Not Modified', [...fields, 'content-length: 5']))
  t.equal(await raw(port, close('/head', 'HEAD')), text('200 OK', [...fields, 'content-length: 5']))
  t.equal(await raw(port, close('/empty').replace('\r\n', '\r\nX-Body: given\r\n')), text('201 Created', [...fields, 'content-length: 5'], 'given'))
  t.same(seen, [undefined, undefined, undefined, undefined])
})

t.test('to an HTTP/1.0 client, over kept connections and to pipelined requests, in order', async (t) => {
  let asked = 0
  const port = await app(t, (app) => {
    app.addHook('onSend', async (request) => {
      asked++
      // Until those behind it have been through their hooks.
      if (request.headers['x-wait'] !== undefined) await until(() => asked === 6)
    })
  })
  t.equal(await raw(port, 'GET /body HTTP/1.0\r\n\r\n'), untouched)
  const kept = (lines: string[], status: string, body: string): string => text(status, lines, body).replace('Connection: close', 'Connection: keep-alive\r\nKeep-Alive: timeout=72')
  const requests = ['/body', '/empty', '/body', '/304'].map((path, i) => `GET ${path} HTTP/1.1\r\nHost: h\r\n${i === 0 ? 'X-Wait: 1\r\n' : ''}\r\n`).join('')
  const all = [
    kept([...fields, 'content-length: 5'], '200 OK', 'h\xe9llo'), kept([...fields, 'content-length: 0'], '201 Created', ''),
    kept([...fields, 'content-length: 5'], '200 OK', 'h\xe9llo'), kept([...fields, 'content-length: 5'], '304 Not Modified', ''), untouched
  ]
  t.equal(await raw(port, requests + close('/body')), all.join(''))
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  for (const [i, path] of ['/body', '/empty', '/body'].entries()) {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`)
    t.same(await once(socket, 'data'), [all[i]])
  }
  socket.destroy()
})

t.test('what hooks leave as it is goes to the socket as without hooks: a short body in one piece with its head, and not before the turn ends', async (t) => {
  const asked: Record<string, { pieces: string[]; at: unknown[] }> = {}
  const port = await app(t, (app) => {
    app.addHook('onRequest', async (request) => {
      const { socket } = request.raw
      const { pieces } = asked[request.url] = { pieces: [], at: [] } as { pieces: string[]; at: unknown[] }
      const { write } = socket
      socket.write = function (this: Socket, ...args: unknown[]) {
        pieces.push(typeof args[0])
        return (write as (...args: unknown[]) => boolean).apply(this, args)
      } as never
    })
    app.addHook('onSend', (request, reply, payload, done) => {
      done(null, payload)
      asked[request.url]!.at.push(reply.sent, reply.raw.writableEnded)
    })
  })
  for (const path of ['/body', '/empty', '/304']) {
    await raw(port, close(path))
    t.same(asked[path], { pieces: ['string'], at: [true, false] }, path)
  }
  // The first one's size decides about the buffer for the next, which then comes in one piece with its head.
  for (let i = 0; i < 2; i++) t.equal(await raw(port, close('/long')), text('200 OK', [...fields, 'content-length: 15500'], 'x'.repeat(15_500)))
  t.same(asked['/long']!.pieces.slice(0, 2), ['string', 'object'], 'a longer one is not made a text')
})

t.test('who ends the response by himself, with the body that he got, is told when it is finished', async (t) => {
  const finished: boolean[] = []
  const port = await app(t, (app) => {
    app.addHook('onSend', (_request, reply, payload) => {
      const { raw } = reply.hijack()
      raw.writeHead(200, { 'x-own': 'o', 'content-length': 5, date: 'now' }).end(payload, () => { finished.push(raw.writableFinished) })
    })
  })
  t.equal(await raw(port, close('/body')), text('200 OK', ['x-own: o', 'content-length: 5', 'date: now'], 'h\xe9llo'))
  t.same(finished, [true])
})

t.test('trailers that Fastify does not take are not announced either', async (t) => {
  const port = await app(t, (app) => { app.addHook('onSend', async (_request, reply) => { t.notOk(reply.hasHeader('trailer')) }) })
  t.equal(await raw(port, close('/trailer')), text('200 OK', fields, '1\r\nx\r\n0\r\n\r\n').replace('Connection: close', 'Connection: close\r\nTransfer-Encoding: chunked'))
})

type Method = 'writeHead' | 'write' | 'end'

/** Puts functions of its own in place of the response's, as middleware does, which note what they were called with. */
function wrap (response: ServerResponse, calls: unknown[][]): void {
  for (const name of ['writeHead', 'write', 'end'] as Method[]) {
    const before = response[name] as (...args: unknown[]) => unknown
    response[name] = function (this: ServerResponse, ...args: unknown[]) {
      calls.push([name, ...args])
      return before.apply(this, args)
    } as never
  }
}

for (const hook of ['onRequest', 'onSend'] as const) {
  t.test(`who wraps the response in ${hook} sees of it what Fastify writes`, async (t) => {
    let calls: unknown[][] = []
    let response: ServerResponse
    let wrapped: unknown
    const port = await app(t, (app) => {
      app.addHook(hook, async (_request: FastifyRequest, reply: FastifyReply) => {
        response = reply.raw
        wrap(response, calls)
        wrapped = response.end
      })
      if (hook === 'onRequest') app.addHook('onSend', leave as never)
    })
    t.equal(await raw(port, close('/body')), untouched)
    const [[, status, fieldsSeen], end] = calls as [[unknown, unknown, OutgoingHttpHeaders], unknown[]]
    t.same(calls.map(([name]) => name), ['writeHead', 'end'])
    t.equal(response!.end, wrapped, 'what he has put there stays')
    t.equal(status, 200)
    t.same(fieldsSeen['set-cookie'], ['a=1', 'b=2'])
    t.ok(fieldsSeen.hasOwnProperty('x-first'), 'the fields are a plain object')
    t.equal(String(end[1]), Buffer.from('h\xe9llo', 'latin1').toString())
    calls = []
    t.equal(await raw(port, close('/empty')), text('201 Created', [...fields, 'content-length: 0']))
    t.same(calls.map(([name]) => name), ['writeHead', 'end'])
  })

  t.test(`who wraps only the write of the response in ${hook} sees nothing of it, as Node does not call it`, async (t) => {
    const calls: unknown[] = []
    const port = await app(t, (app) => {
      app.addHook(hook, async (_request: FastifyRequest, reply: FastifyReply) => {
        const { write } = reply.raw
        reply.raw.write = function (this: ServerResponse, ...args: unknown[]) {
          calls.push(args)
          return (write as (...args: unknown[]) => boolean).apply(this, args)
        } as never
      })
      if (hook === 'onRequest') app.addHook('onSend', leave as never)
    })
    t.equal(await raw(port, close('/body')), untouched)
    t.same(calls, [])
  })
}

t.test('who makes the head by himself, when the body comes, gets it whole', async (t) => {
  const port = await app(t, (app) => {
    app.addHook('onSend', async (_request, reply) => {
      reply.raw.writeHead = function (this: ServerResponse, status: number) {
        delete (this as Partial<ServerResponse>).writeHead
        this.statusCode = status
        return this.setHeader('Date', 'then')
      } as never
    })
  })
  t.equal(await raw(port, close('/body')), text('200 OK', ['Date: then'], 'h\xe9llo').replace('Connection: close', 'Connection: close\r\nContent-Length: 5'))
})

t.test('a client that leaves while hooks run: the response is over for them all the same', async (t) => {
  const ended = new Promise((resolve) => {
    void app(t, (app) => {
      app.addHook('onSend', async (_request, reply) => {
        const closed = once(reply.raw, 'close')
        socket.destroy()
        await closed
        setImmediate(() => { resolve([reply.sent, reply.raw.writableEnded]) })
      })
    }).then((port) => { socket = connect(port, '127.0.0.1', () => { socket.write(close('/body')) }) })
  })
  let socket: Socket
  t.same(await ended, [true, true])
})

t.test('who sends once more is told so, and harms nothing', async (t) => {
  const logged: string[] = []
  const url = await rawUpstream(t, (socket) => { socket.write(answers['/body']!, 'latin1') })
  const { port } = await proxy(t, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    app.addHook('onSend', (_request, reply, payload, done) => {
      done(null, payload)
      if (!reply.sent) logged.push('not sent')
      reply.send('again')
    })
  }, { logger: { level: 'warn', stream: { write: (line: string) => { logged.push((JSON.parse(line) as { err: { code: string } }).err.code) } } } })
  t.equal(await raw(port, close('/body')), untouched)
  t.same(logged, ['FST_ERR_REP_ALREADY_SENT'])
})

t.test('a handler that waits for the answer goes on when it is given', async (t) => {
  const went: unknown[] = []
  const port = await app(t, (app) => {
    app.addHook('onSend', leave as never)
    app.get('/body', async (_request, reply) => {
      await reply.forward('web')
      went.push(reply.sent, reply.raw.headersSent)
      return reply
    })
  })
  t.equal(await raw(port, close('/body')), untouched)
  await until(() => went.length > 0)
  t.same(went, [true, true])
})

t.test('onResponse hooks run after it, with its time', async (t) => {
  const seen: unknown[] = []
  const port = await app(t, (app) => {
    app.addHook('onSend', leave as never)
    app.addHook('onResponse', async (request, reply) => { seen.push([request.url, reply.statusCode, reply.sent, reply.raw.writableFinished, reply.elapsedTime > 0]) })
  })
  for (const path of ['/body', '/empty', '/304']) await raw(port, close(path))
  await until(() => seen.length === 3)
  t.same(seen, [['/body', 200, true, true, true], ['/empty', 201, true, true, true], ['/304', 304, true, true, true]])
})
