"""How many groups a group norm has when nobody says."""


def num_groups(channels: int) -> int:
    """As many as divide the channels, at most 32 and of at least 4 channels.

    32 is Wu and He's (2018); 32 of 4 for 128 channels, 16 of 4 for 64. In a dense
    layer, smaller groups would leave little but signs.
    """
    most = max(1, min(32, channels // 4))
    return max(n for n in range(1, most + 1) if channels % n == 0)
