/**
 * A moment of sound in each codec, 48 kHz, stereo: a tone on the left, silence on the right.
 * Written by scripts/support/probe_sounds.py; a test decodes them. Imports nothing.
 */

/** By their names among a viewer's abilities (docs/protocol.md); description and packets: base64.
 * @type {Record<string, {codec: string, description: string, packets: string[]}>} */
export const SOUND_PROBES = {
  opus: {
    codec: 'opus',
    description: '',
    packets: [
      '/J6DqfXaL4yLb++KRC7Y7daIo84Iq2itPWOWOWOWOXAzfdV7ueA6/hDEQfFPq9EJ4DK4ZP9xa9TgABEbxJxmWwwQAFmvUqKRikR3kFTH9IWPKeSamCaAG/orUuJBbAoybvsUmLQg9AwWL8Z/iplgAAAod7Iti7wABfLneYBIJpM/eMK4AAGUZf5jQXgASyJrVJ14xlT5Wh7qXtD/qzRpMfORBLBcOzyjAFOTGElD7m7OvWxTpMweuezv5Fb3RWIlpfv/+Bib+sp5P5ji4Mkq3bPTiJIfuzEFuy6l7aYy1MgZkp5ju014mhLw0sgUBQQQhBEMjEEgWAgEQfA7AXAPCvE=',
      '/J6DqfXaL4yLb++KRC7Y7daIo84Iq2itPWOWOWOWOXAzfdZlwQN26BjlvJiUoE12ADff52FpZypgAAkFcFWjLj6kAD4f2VyP8IBiEDCuO7AqN/+NkgL2cAvBRLngIABn3azpLg4Agw4Jlf7EzdHOIAAAKW+yLYu8ABDWS+qYLyhhpKAGrABSGU7QBIQARyCVZRld7N9dudLxZTeR29oRAG2w61rTLiQz6QPvDrTRLSbs69OkbFzB657O/kVqbkERLS/f/8DEz+72Q9Anb9wIl16qPLSH7sxCbZdS9tMZamQhOU8xP014mhLx0s5XrQQQhBEMjEEgWAgEQfA7AXAPBvE=',
      '/KSWdQLfvsZCadEpP0YRoS4otgz8Lwo79dx9x9x9x+LZscCW7vIs7hExgi7F6DAOxD0o1M0cED32AASniPY00uNEAEiIMYQioHutbjq+2QJDCH8i3ASksE6RjluEHABRoOPLs8AAjbbWxrTFdrq6mAABdcL6gC6UADIJPgYKntK3/lU+lAAcbXd2TgF6BxEYRXitdSxYlLlee2o5XNeSEldTIZ5RgCnJjD7hJW7GqnSNi5g9c9nfyKjYrviJaSJdkP3//AxM/u8ki2ZFwZIiXZCo8tIaCcNE2y/dk846WqWjsp5kLU14mTrhON0d0QQQhBEMjEEQTAkDweA6AWAPBPE=',
      '/Knrv6zfvsZCadEpP0YRoS4otgz8Lwo79dx9x9x9x+LZscCxVxOTchExgb14iD/akjQODLouIk3mAAHhRwN++tcUAHheuy/vn9bwILc6zQx+zLZVgjA5VvkDbDFZgBP1Jc9ebgBE8GQwSpQ5FYYqAACnrseWRWQAHqNMVOJywDN6kYB8ADQIv8n0UAA9mqbMWoe/niVR5xq/aDk9Zu63JEFKH4GXEhn0gfeGS0q003Z16dI2Kesxz2d/Ire6KxEtJ9//wMTf1lKdTKsXBkiI1MqcRKI/dmnFuy7/Udna2LDWkp5ju014kSPln8b+DQQMgxEMjEEQUAcDweA4AUANA/E=',
      '/Knrv6zfvsZCadEpP0YRoS4otgz8Lwo79dx9x9x9x+LZscCtB9fTchHJgb0HFBXakjWl55zkCjYgAADxWLVFXGFQAFrayl5H41rYug9is55pPRUajAGBzOW9dSQ04AAuq6lgGRYAkqGNyCgQl9dzAAAA0EBL2gAAACQEl9TzYX56Ayc06AA9npJF0FBOTk0dPWxn1hi78zTZSxwf/96vDsiZv/SAfVOTGJaVaabs69OkbFzB657O/kVvdFYiWkiNTL9//wMTP7vJ1MqxcGSIjUyqPLSH7sxCbZdS9tMZamQhOeTju014ihL1ocb0tQQMgxEMjEEQVAYDweA4AUAMAvE=',
    ],
  },
  mp4a: {
    codec: 'mp4a.40.2',
    description: 'EZBW5QA=',
    packets: [
      'IKtKbFtlpiXFsuLZcP6/9/rrTc1evj/x7XxxxrWr//s/DjjjWte3/9vpxx1xfASozev6DaOBrn0FoVcnBInn9c6DPxElvgcPBLjxeKf6RK+kRTj6a4inH0+kRTj6fSKITgfT6fSKITgfT6fSxYZPMTSIaZBfLCU2uRxXFvQavqIyxdY37NF6MxaFin+kSvpEU4+muIpx9PpEU4+n0iiE4H0+n0iiE4H0+n0I4QpPlOWqUm75oviiiKKKKKKKKKKKMEAO',
      'IIN41vJ2hIr1n7ZdV/rk/7103vi13LkuSAakQatyaLmH7j2r9RSpRQRMTunqnsSGGGLa6GAWX3F2Vxdo6mos1JjyFhaWlpSnS+Pgwz++gZPhsZ/eEZPhsZ/ch8fDY9/eEZPhsZ/ch8fDYz+8I+Pgw9/chk+DD394R8fBh7+8I+Pgw9/ch8fBh7+5DJ8Ae/uQyfAjBADg',
      'IRjDlbmVp0I6r+lcdt/3/7f/yezJz7c+3dyQGSST4kgzDmL/L/y/o/8kqZKmgsZNLujGnoxno23QatIFAkK9mXIU08z1GMGgruaWrDHDHDHDF2dsMcMcKXZ2dsMcMcMXZ2dnZ2dnZ2dnZ2dnZ2dnYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBowPkH',
      'IRjDbbKUSdIvP4y671/6f0//9dSZVyS+YkiSAIGkte+TSaDvr/69KagpwCO44peAR3vDpszzyTCESwICV9rOKDfzDM8Jb8JR0FHQUbw9pE6QcQcQcQcQcQcQcQcQcQcQcQcQcQcQcQcQcQcQd55555555555555555555555555555555555555555555555555555556MD5Bw==',
      'IRjDdbYMjdG68fovm+f7//T//v5kpp6ntO5Ekkf8g0drWph1iXaXRry8TVsR/SD7jTTfOmc9oG1OWHyslWLlh1/PtjN96XvSHp+h0+h0+ho9BX1lfEjxI8SvrK+sjxI8SPEjxJpppppv83+b/N/m/zf5v83+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaMD5Bw==',
    ],
  },
};
