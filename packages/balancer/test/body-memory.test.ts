import { IncomingMessage, createServer } from 'node:http'
import { type AddressInfo, Socket, connect } from 'node:net'
import t from 'tap'
import type { Attempt } from '@headgate/core'
import { RequestBody } from '../src/request-body.ts'
import { until } from './helpers.ts'

const SIZE = 400_000
const text = Buffer.from(Array.from({ length: SIZE / 8 }, (_, i) => String(i).padStart(8, '0')).join(''))

/** Keeps the pieces that it is given, and what was in them. */
class Recorder implements Attempt {
  readonly pieces: Buffer[] = []
  readonly copies: Buffer[] = []
  readonly flushed: boolean
  readonly #wrote: () => void
  ended = false

  constructor (flushed = true, wrote = (): void => {}) {
    this.flushed = flushed
    this.#wrote = wrote
  }

  write (chunk: Buffer): boolean {
    this.#wrote()
    this.pieces.push(chunk)
    this.copies.push(Buffer.from(chunk))
    return true
  }

  end (): void { this.ended = true }
  resume (): void {}
  abort (): void {}

  get text (): Buffer { return Buffer.concat(this.copies) }
  /** Bytes in memory that is still there, and all. */
  get left (): number { return this.pieces.reduce((sum, { length }) => sum + length, 0) }
}

/** Sends the text as a request's body, chunked, and gives that request and its body. */
async function upload (t: { teardown (action: () => unknown): void }, replayLimit: number): Promise<{ source: IncomingMessage; body: RequestBody }> {
  let came: IncomingMessage | undefined
  const server = createServer((request) => { came = request.on('error', () => {}) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  socket.write('POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n')
  for (let at = 0; at < SIZE; at += 50_000) {
    socket.write(`${(50_000).toString(16)}\r\n`)
    socket.write(text.subarray(at, at + 50_000))
    socket.write('\r\n')
  }
  socket.write('0\r\n\r\n')
  await until(() => came !== undefined)
  const source = came!
  return { source, body: RequestBody.of(source, { replayLimit, bodyLimit: Infinity }, { bodyProgress () {}, bodyTooLarge () {} })! }
}

t.test('pieces that were passed on are given back', async (t) => {
  const { body } = await upload(t, 0)
  const attempt = new Recorder()
  body.attach(attempt)
  await until(() => attempt.ended)
  t.ok(attempt.text.equals(text))
  // Short pieces are left to the collector.
  t.ok(attempt.pieces.every(({ length }) => length < 16_384))
  t.ok(attempt.left < SIZE / 2, `${attempt.left} bytes are left`)
})

t.test('what another attempt may need is kept as long as it may', async (t) => {
  const { body } = await upload(t, SIZE)
  const attempt = new Recorder()
  body.attach(attempt)
  await until(() => attempt.ended)
  t.equal(attempt.left, SIZE)
  body.detach()
  body.discard()
  t.ok(attempt.left < SIZE / 2, `${attempt.left} bytes are left`)
})

t.test('what two attempts were given is not: the first may not have done with it', async (t) => {
  const { body } = await upload(t, SIZE)
  const [first, second] = [new Recorder(), new Recorder()]
  body.attach(first)
  await until(() => first.ended)
  body.detach()
  body.attach(second)
  t.ok(second.ended)
  t.ok(second.text.equals(text))
  body.detach()
  body.discard()
  t.equal(second.left, SIZE)
})

t.test('what the system has not taken is not', async (t) => {
  const { body } = await upload(t, 0)
  const attempt = new Recorder(false)
  body.attach(attempt)
  await until(() => attempt.ended)
  t.equal(attempt.left, SIZE)
})

for (const [what, socket] of Object.entries({ 'a socket of its own': new Socket(), 'no socket': undefined })) {
  t.test(`nor what an adapter has put into a message with ${what}`, async (t) => {
    const source = new IncomingMessage(socket as Socket)
    source.method = 'POST'
    source.headers['content-length'] = String(SIZE)
    const own = Buffer.from(text)
    source.push(own)
    source.push(null)
    const body = RequestBody.of(source, { replayLimit: 0, bodyLimit: Infinity }, { bodyProgress () {}, bodyTooLarge () {} })!
    const attempt = new Recorder()
    body.attach(attempt)
    await until(() => attempt.ended)
    t.ok(attempt.text.equals(text))
    t.ok(own.equals(text))
  })
}

const listeners: Record<string, (source: IncomingMessage, hear: (chunk: Buffer) => void) => unknown> = {
  'has listened before': (source, hear) => { source.pause().on('data', hear) },
  'has put something in place of our listener': (source, hear) => {
    const { on } = source
    source.on = function (this: IncomingMessage, name: string, listener: (chunk: Buffer) => void): IncomingMessage {
      return (on as (name: string, listener: (chunk: Buffer) => void) => IncomingMessage).call(this, name, (chunk) => {
        if (name === 'data') hear(chunk)
        listener(chunk)
      })
    } as typeof on
  },
  'sees all that is pushed': (source, hear) => {
    const { push } = source
    source.push = function (this: IncomingMessage, chunk: Buffer | null): boolean {
      if (chunk !== null) hear(chunk)
      return push.call(this, chunk)
    } as typeof push
  },
  'sees all that is emitted': (source, hear) => {
    const { emit } = source
    source.emit = function (this: IncomingMessage, name: string, chunk: Buffer): boolean {
      if (name === 'data') hear(chunk)
      return (emit as (name: string, chunk: Buffer) => boolean).call(this, name, chunk)
    } as typeof emit
  },
  'sees all that is read': (source, hear) => {
    const { read } = source
    source.read = function (this: IncomingMessage, size?: number): Buffer | null {
      const chunk = read.call(this, size) as Buffer | null
      if (chunk !== null) hear(chunk)
      return chunk
    } as typeof read
  },
  'has read something and put it back': (source, hear) => {
    return new Promise<void>((resolve) => {
      source.once('data', (chunk: Buffer) => {
        hear(chunk)
        source.pause().unshift(chunk)
        resolve()
      })
    })
  }
}
for (const [who, listen] of Object.entries(listeners)) {
  t.test(`nor what somebody may keep who ${who}`, async (t) => {
    const { source, body } = await upload(t, 0)
    const heard: Buffer[] = []
    await listen(source, (chunk) => { heard.push(chunk) })
    const attempt = new Recorder()
    body.attach(attempt)
    await until(() => attempt.ended)
    t.ok(attempt.text.equals(text))
    t.ok(heard.length > 0 && heard.every(({ length }) => length > 0))
    t.equal(attempt.left, SIZE)
  })
}

const late: Record<string, (source: IncomingMessage, hear: (chunk: Buffer) => void) => void> = {
  listen: (source, hear) => { source.on('data', hear) },
  'see what is emitted': listeners['sees all that is emitted']!
}
for (const [what, begin] of Object.entries(late)) {
  t.test(`nor what comes after somebody else has begun to ${what}`, async (t) => {
    const { source, body } = await upload(t, 0)
    const heard: Buffer[] = []
    let begun = false
    const attempt = new Recorder(true, () => {
      if (!begun) begin(source, (chunk) => { heard.push(chunk) })
      begun = true
    })
    body.attach(attempt)
    await until(() => attempt.ended)
    t.ok(attempt.text.equals(text))
    t.ok(heard.length > 0)
    t.ok(Buffer.concat(heard).equals(text.subarray(attempt.copies[0]!.length)))
  })
}
