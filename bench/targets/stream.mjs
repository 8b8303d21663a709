// Layer 4 in one process: { kind: 'headgate' | 'floor', small, bulk, udp, ports }. `small`, `bulk` and `udp` are the backends' ports,
// `ports` those to listen on, in the same order. Prints the first when it listens on all.
import { connect, createServer, Socket } from 'node:net'

const { kind, small, bulk, udp, ports } = JSON.parse(process.argv[2])
process.once('SIGTERM', () => { process.exit() })

if (kind === 'headgate') {
  const { default: stream } = await import('@headgate/stream')
  const { default: Fastify } = await import('fastify')
  const app = Fastify()
  await app.register(stream, {
    listeners: [
      { listen: `127.0.0.1:${ports[0]}`, pool: [`tcp://127.0.0.1:${small}`] },
      { listen: `127.0.0.1:${ports[1]}`, pool: [`tcp://127.0.0.1:${bulk}`] },
      { protocol: 'udp', listen: `127.0.0.1:${ports[2]}`, pool: [`udp://127.0.0.1:${udp}`] }
    ]
  })
  await app.ready()
} else {
  // The least that a TCP proxy in Node does: each side read into one buffer of its own, and what came written to the other. Errors
  // and ends are passed on, nothing is chosen, counted, bounded or timed.
  const open = async (port, upstreamPort) => {
    const server = createServer({ noDelay: true, allowHalfOpen: true, pauseOnConnect: true }, (accepted) => {
      const reading = (other) => ({
        buffer: Buffer.allocUnsafeSlow(262_144),
        callback: (count, buffer) => {
          const to = other()
          to.write(buffer.subarray(0, count))
          if (to.writableLength === 0) return true
          to.once('drain', () => { (to === upstream ? client : upstream).read(0) })
          return false
        }
      })
      const { _handle: handle } = accepted
      accepted._handle = null
      const client = new Socket({ handle, allowHalfOpen: true, readable: true, writable: true, onread: reading(() => upstream) })
      accepted.destroy()
      const upstream = connect({ port: upstreamPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true, onread: reading(() => client) }, () => { client.read(0) })
      for (const [one, other] of [[client, upstream], [upstream, client]]) one.on('end', () => { other.end() }).on('error', () => { other.destroy() })
    })
    await new Promise((resolve) => { server.listen({ port, host: '127.0.0.1', backlog: 4096 }, resolve) })
  }
  await open(ports[0], small)
  await open(ports[1], bulk)
}
console.log(ports[0])
