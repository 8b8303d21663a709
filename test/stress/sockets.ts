import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'

export const MB = 1_048_576

export const turn = (): Promise<void> => new Promise((resolve) => { setTimeout(resolve, 5) })

export async function open (port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Ends of established TCP connections at `port`, on either side. */
export function connectionsAt (port: number): number {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  return readFileSync('/proc/net/tcp', 'utf8').split('\n').filter((line) => line.includes(hex) && / 01 /.test(line)).length
}
