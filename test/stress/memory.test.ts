import { once } from 'node:events'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import t from 'tap'
import { memoryOf, script, serve } from '../processes.ts'
import { MB, open, turn } from './sockets.ts'

t.test('50 slow readers of 50 MB, and 200 MB to a slow upstream: memory is bounded by buffers', async (t) => {
  const { port: upstream } = await script(t, 'upstream.mjs')
  const { url, child } = await serve(t, '--upstream', `http://127.0.0.1:${upstream}`)
  const port = Number(new URL(url).port)
  for (let i = 0; i < 20; i++) await (await fetch(`${url}/bytes?size=1000000`)).arrayBuffer()
  const before = memoryOf(child.pid!)
  const size = 50 * MB
  const readers = await Promise.all(Array.from({ length: 50 }, async () => {
    const socket = await open(port)
    socket.write(`GET /bytes?size=${size} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`)
    await once(socket, 'readable')
    return socket
  }))
  // They read a little, as slow clients do, until buffers on the way must be full.
  for (let round = 0; round < 20; round++) {
    for (const socket of readers) socket.read(65_536)
    await turn()
  }
  const grown = memoryOf(child.pid!) - before
  t.ok(grown < 150 * MB, `${Math.round(grown / MB)} MB for 2,500 MB under way`)
  const [one, ...others] = readers
  for (const socket of others) socket.destroy()
  let bytes = 0
  let head = ''
  one!.on('data', (data: Buffer) => {
    bytes += data.length
    if (head === '') head = data.toString('latin1')
  })
  await once(one!, 'close')
  t.ok(bytes > size - 3 * MB, 'the one that goes on gets the rest')

  const upload = httpRequest(`${url}/slow-upload`, { method: 'POST', headers: { 'content-length': 200 * MB } })
  const answered = once(upload, 'response') as Promise<[IncomingMessage]>
  const piece = Buffer.alloc(MB)
  let left = 200
  let stuck = 0
  const more = (): void => {
    stuck = 0
    while (left > 0) {
      left--
      if (!upload.write(piece)) return void upload.once('drain', more)
    }
    upload.end()
  }
  more()
  while (stuck++ < 40) await turn()
  t.ok(left > 150, 'the client is held back')
  t.ok(memoryOf(child.pid!) - before < 150 * MB, `${Math.round((memoryOf(child.pid!) - before) / MB)} MB with the upload standing`)
  await (await fetch(`http://127.0.0.1:${upstream}/go`)).text()
  const [response] = await answered
  let text = ''
  for await (const chunk of response) text += String(chunk)
  t.equal(text, String(200 * MB))
})
