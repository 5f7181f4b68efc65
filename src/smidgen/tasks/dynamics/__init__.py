"""Small simulations to test numerics on: a chaotic orbit, flows of shallow water, heat in the ground.

Each is a frozen dataclass of its parameters that is called with an arithmetic (`array`: numbers to arrays, plain or
rounded in every operation; `smidgen.formats.arithmetic`) and one seed for each member of an ensemble, and gives what
it passed through after spin-up, `[time, points, members]`, as plain numbers. The equations are written in ordinary
operators; nothing in them knows how they are rounded.
"""
