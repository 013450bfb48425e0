"""The courtyard of data/demo_photos: textures, shapes, the scene and a small ray caster."""
