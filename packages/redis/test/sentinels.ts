import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Test } from './servers.ts'

/** Names whom a test wants, `undefined`: nobody. */
export interface FakeSentinel {
  readonly url: string
  names: number | undefined
  /** Takes questions and does not answer, as long as it is set. */
  hangs: boolean
  asked: number
  /** Is gone for good. */
  end (): void
}

/** A sentinel without servers to watch. Speaks as much of the protocol as is asked of it. */
export async function fakeSentinel (t: Test, names: number | undefined): Promise<FakeSentinel> {
  const sockets = new Set<Socket>()
  const state: FakeSentinel = { url: '', names, hangs: false, asked: 0, end: () => {} }
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1')
      for (let match; (match = /^\*(\d+)\r\n/.exec(text)) !== null;) {
        const parts = text.slice(match[0].length).split('\r\n')
        const count = Number(match[1]) * 2
        if (parts.length <= count) return
        const words = parts.slice(0, count).filter((_, i) => i % 2 === 1)
        text = parts.slice(count).join('\r\n')
        if (state.hangs) continue
        if (words[0]!.toUpperCase() !== 'SENTINEL') {
          socket.write('+OK\r\n')
          continue
        }
        state.asked++
        const port = String(state.names)
        socket.write(state.names === undefined ? '*-1\r\n' : `*2\r\n$9\r\n127.0.0.1\r\n$${port.length}\r\n${port}\r\n`)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  state.end = () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(state.end)
  return Object.assign(state, { url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}` })
}
