// Apps that take turns in one process: { ports, apps: [{ kind, port, … }, …] }. Prints the port at which it is told whose turn it is, by one
// byte with the app's index, and says what CPU time it has used, of all threads, in microseconds.
import { Channel } from 'node:diagnostics_channel'
import { createServer } from 'node:net'
import { secretsOf, startApp } from './app.mjs'
import { startBare } from './bare.mjs'

const start = (config) => config.kind === 'bare' ? startBare(config.ports[0], secretsOf(config.tls), config.http2, config.port) : startApp(config)

export async function startSeveral ({ ports, apps }) {
  // Channels are the process's: what one app's metrics listen to, all the others would tell. So an app's listeners are there in its turn only.
  const listeners = []
  const { subscribe } = Channel.prototype
  for (const config of apps) {
    const own = []
    Channel.prototype.subscribe = function (listener) {
      own.push([this, listener])
      subscribe.call(this, listener)
    }
    await start({ ports, ...config })
    for (const [channel, listener] of own) channel.unsubscribe(listener)
    listeners.push(own)
  }
  Channel.prototype.subscribe = subscribe
  let turn
  const server = createServer((socket) => {
    socket.on('data', ([next]) => {
      // Before a burst; when it is over the same app is named again, and nothing but the burst was done between the two answers.
      if (next !== turn) {
        for (const [channel, listener] of listeners[turn] ?? []) channel.unsubscribe(listener)
        for (const [channel, listener] of listeners[next]) channel.subscribe(listener)
        turn = next
      }
      const { user, system } = process.cpuUsage()
      socket.write(String(user + system))
    })
  })
  server.listen(0, '127.0.0.1', () => { console.log(server.address().port) })
}
