// Layer 4 in front of given ports; prints its own: TCP for round trips, TCP for volume, UDP.
import stream from '@headgate/stream'
import Fastify from 'fastify'

const [small, bulk, udp] = process.argv.slice(2)
const app = Fastify()
await app.register(stream, {
  listeners: [
    { name: 'small', listen: '127.0.0.1:0', pool: [`tcp://127.0.0.1:${small}`] },
    { name: 'bulk', listen: '127.0.0.1:0', pool: [`tcp://127.0.0.1:${bulk}`] },
    { name: 'udp', protocol: 'udp', listen: '127.0.0.1:0', pool: [`udp://127.0.0.1:${udp}`] }
  ]
})
await app.ready()
console.log(['small', 'bulk', 'udp'].map((name) => app.stream.listener(name).address.split(':').at(-1)).join(' '))
