"""What comes before and after the nets of forks: from pictures to inputs, from tops to pictures.

Pictures are uint8 arrays H x W x 3 in RGB. Each module has one task: detection, pose, edges,
colour, resolution.
"""
