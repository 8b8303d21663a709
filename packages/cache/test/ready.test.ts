import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { app, raw, TestClock } from './helpers.ts'
import { RecentItems } from '../src/recent-items.ts'

const get = (path: string, more = '', method = 'GET'): string => `${method} ${path} HTTP/1.1\r\nHost: a.example\r\n${more}\r\n`

/** Sends requests one after another on one connection, and gives each answer as it came. */
async function conversation (port: number, requests: readonly string[]): Promise<string[]> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  const answers: string[] = []
  for (const text of requests) {
    socket.write(text)
    let answer = ''
    const whole = (): boolean => {
      const end = answer.indexOf('\r\n\r\n')
      if (end === -1) return false
      const bodyless = text.startsWith('HEAD') || answer.startsWith('HTTP/1.1 304')
      return bodyless || answer.length >= end + 4 + Number(/content-length: (\d+)/i.exec(answer)![1])
    }
    while (!whole()) answer += String((await once(socket, 'data'))[0])
    answers.push(answer)
  }
  socket.destroy()
  return answers
}

for (const size of [0, 10, 5000, 20_000, 200_000]) {
  t.test(`a hit is the same to the byte, however often it comes: ${size} bytes`, async (t) => {
    const clock = new TestClock()
    const ended: number[] = []
    const { port } = await app(t, { clock }, (app) => {
      app.addHook('onResponse', async (_request, reply) => { if (reply.raw.headersSent) ended.push(reply.statusCode) })
      app.get('/', (_request, reply) => reply.header('cache-control', 'max-age=60').header('etag', '"x"').header('date', 'Thu, 01 Jan 2026 00:00:00 GMT').type('text/plain').send(Buffer.alloc(size, 'body ')))
    })
    const [miss, ...hits] = await conversation(port, Array.from({ length: 9 }, () => get('/')))
    t.match(miss, 'fwd=uri-miss')
    t.match(hits[0], /^HTTP\/1.1 200 OK\r\n[^]*Age: 0\r\n[^]*Connection: keep-alive\r\nKeep-Alive: timeout=72\r\n\r\n/)
    t.equal(hits[0]!.slice(hits[0]!.indexOf('\r\n\r\n') + 4), 'body '.repeat(size / 5))
    for (const hit of hits) t.ok(hit === hits[0])
    const unchanged = await conversation(port, Array.from({ length: 8 }, () => get('/', 'If-None-Match: "x"\r\n')))
    t.match(unchanged[0], /^HTTP\/1.1 304 Not Modified\r\n/)
    t.notMatch(unchanged[0], /content-length/i)
    for (const answer of unchanged) t.ok(answer === unchanged[0])
    clock.advance(1000)
    const [later] = await conversation(port, [get('/')])
    t.equal(later, hits[0]!.replace('Age: 0', 'Age: 1').replace('ttl=60', 'ttl=59'))
    t.strictSame(ended, [...Array<number>(9).fill(200), ...Array<number>(8).fill(304), 200])
  })
}

t.test('a head of its own where a response needs one', async (t) => {
  let patched = 0
  const { port, app: instance } = await app(t, { clock: new TestClock() }, (app) => {
    app.addHook('onRequest', async (request, reply) => {
      if (request.headers['x-own'] !== undefined) reply.header('x-own', 'yes')
      if (request.headers['x-patched'] === undefined) return
      const { writeHead } = reply.raw
      reply.raw.writeHead = function (this: typeof reply.raw, ...parameters: never[]) {
        patched++
        return (writeHead as (...list: never[]) => typeof reply.raw).apply(this, parameters)
      } as typeof writeHead
    })
    app.get('/', (_request, reply) => reply.header('cache-control', 'max-age=60').type('text/plain').send('body'))
  })
  const usual = Array.from({ length: 8 }, () => get('/'))
  const [, , , , , , , plain] = await conversation(port, usual)
  const [own, head, patchedAnswer, again] = await conversation(port, [get('/', 'X-Own: yes\r\n'), get('/', '', 'HEAD'), get('/', 'X-Patched: yes\r\n'), get('/')])
  t.match(own, /x-own: yes\r\n[^]*\r\n\r\nbody$/)
  const fields = (answer: string): string[] => answer.toLowerCase().split('\r\n\r\n')[0]!.split('\r\n').sort()
  t.strictSame(fields(head!), fields(plain!))
  t.match(head, /\r\n\r\n$/)
  t.equal(patchedAnswer, plain)
  t.equal(patched, 1)
  t.equal(again, plain)
  t.match(await raw(port, get('/', 'Connection: close\r\n')), /Connection: close\r\n\r\nbody$/)
  t.match(await raw(port, 'GET / HTTP/1.0\r\nHost: a.example\r\n\r\n'), /Connection: close\r\n\r\nbody$/)
  t.equal((await instance.inject({ url: '/', headers: { host: 'a.example' } })).body, 'body')
  const pipelined = await raw(port, [...usual, get('/', 'Connection: close\r\n')].join(''))
  t.equal(pipelined, plain!.repeat(8) + plain!.replace('Connection: keep-alive\r\nKeep-Alive: timeout=72', 'Connection: close'))
})

t.test('a hit that somebody else ends before the writes of its turn, or whose client leaves by then, harms no other', async (t) => {
  const { port } = await app(t, { clock: new TestClock() }, (app) => {
    app.addHook('onRequest', async (request, { raw }) => {
      const { writeHead } = raw
      raw.writeHead = function (...parameters: never[]) {
        // After the hit was given, before the turn's end.
        if (request.headers['x-end'] !== undefined) process.nextTick(() => { raw.end() })
        if (request.headers['x-leave'] !== undefined) process.nextTick(() => { raw.socket!.destroy() })
        return (writeHead as (...list: never[]) => typeof raw).apply(raw, parameters)
      } as typeof writeHead
    })
    app.get('/', (_request, reply) => reply.header('cache-control', 'max-age=60').type('text/plain').send('body'))
  })
  await conversation(port, [get('/')])
  t.match(await raw(port, get('/', 'X-End: yes\r\nConnection: close\r\n')), /^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\n$/)
  t.equal(await raw(port, get('/', 'X-Leave: yes\r\nConnection: close\r\n')).catch(() => ''), '')
  t.match(await raw(port, get('/', 'Connection: close\r\n')), /\r\n\r\nbody$/)
})

t.test('who reads slowly gets what was sent, though it is another second by then', async (t) => {
  const clock = new TestClock()
  const { url } = await app(t, { clock }, (app) => {
    app.get('/', (_request, reply) => reply.header('cache-control', 'max-age=600').type('text/plain').send(Buffer.alloc(100_000, 'x')))
  })
  const read = (): Promise<number> => new Promise((resolve, reject) => {
    request(url, { headers: { connection: 'keep-alive' } }, (response) => {
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        response.pause()
        setImmediate(() => { response.resume() })
      }).on('end', () => { resolve(bytes) }).on('error', reject)
    }).on('error', reject).end()
  })
  for (let second = 0; second < 4; second++) {
    t.strictSame(await Promise.all(Array.from({ length: 40 }, read)), Array<number>(40).fill(100_000))
    clock.advance(1000)
  }
})

t.test('recent items: within their bounds, and oldest first', async (t) => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 60 }), (costs) => {
    const dropped: number[] = []
    const items = new RecentItems<number>(5, 100, (item) => { dropped.push(item) })
    const model: number[] = []
    const gone: number[] = []
    const cost = (): number => model.reduce((sum, index) => sum + costs[index]!, 0)
    for (const [index, own] of costs.entries()) {
      while (model.length > 0 && (model.length === 5 || cost() + own > 100)) gone.push(model.shift()!)
      model.push(index)
      items.add(index, own)
      if (JSON.stringify(dropped) !== JSON.stringify(gone)) return false
    }
    return true
  }))
  t.end()
})
