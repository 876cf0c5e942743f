"""What training does to the colours of images, on the device, before they are normalised."""

import dataclasses

import jax
import jax.numpy as jnp

# The luma of ITU-R 601, by which images are made grey.
_LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class ColorShift:
    """A random shift of each image's colour along the principal components of all RGB values.

    AlexNet, section 4.1: to every pixel is added ``[p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T``, with p_i
    and l_i the eigenvectors and the eigenvalues of the covariance of RGB values and
    ``a_i ~ N(0, 0.1)``, drawn once for each image and use. Also VGG's.

    The formula multiplies by variances where a shift is a standard deviation, and so depends on
    the unit. It is taken in values of [0, 1], as in fb.resnet.torch and all that follow it: 0.1 of
    ImageNet's first eigenvalue, 0.2175, is a shift of 5.5 grey levels along that component. (In
    grey levels throughout it would be 1,414. Krizhevsky's own cuda-convnet2 multiplies by the
    square roots instead, which is 11.9 in any unit.)

    Attributes:
      std: of the a_i.
      eigenvalues: l_i, of the covariance of grey levels of 0 to 255: in grey levels squared.
      eigenvectors: p_i, the columns: one row to each channel.
    """

    std: float
    eigenvalues: tuple[float, ...]
    eigenvectors: tuple[tuple[float, ...], ...]

    def __call__(self, images: jax.Array, keys: jax.Array) -> jax.Array:
        """Shifts each image by its own random colour.

        Args:
          images: of 0 to 255, shape ``(batch, height, width, channels)``.
          keys: typed jax keys, one for each image, shape ``(batch,)``.

        Returns:
          float32, of the shape of `images`; not clipped, so that they can leave 0 to 255.
        """
        components = len(self.eigenvalues)
        alphas = self.std * jax.vmap(lambda key: jax.random.normal(key, (components,)))(keys)
        # With values in [0, 1] the eigenvalues are 255^2 times smaller, the shift 255 times.
        scaled = alphas * jnp.array(self.eigenvalues, jnp.float32) / 255
        # A sum, not a matrix product, which accelerators would round to fewer bits.
        shifts = (scaled[:, None, :] * jnp.array(self.eigenvectors, jnp.float32)).sum(axis=-1)
        return images.astype(jnp.float32) + shifts[:, None, None, :]


@dataclasses.dataclass(frozen=True)
class Photometric:
    """Random brightness, contrast and saturation of each image (Howard 2013; also GoogLeNet's).

    Each is a blend ``other + factor * (image - other)``, with a factor of its own that is uniform
    in [1 - strength, 1 + strength]; `other` is black for the brightness, the mean grey level of the
    image for the contrast, and the image in grey for the saturation. The three follow each other in
    random order, and what leaves 0 to 255 is cut off after each, as in torchvision's ColorJitter.

    Attributes:
      strength: 0 to 1.
    """

    strength: float

    def __call__(self, images: jax.Array, keys: jax.Array) -> jax.Array:
        """Distorts each image in its own random way.

        Args:
          images: of 0 to 255, shape ``(batch, height, width, channels)``, in grey or in R, G, B.
          keys: typed jax keys, one for each image, shape ``(batch,)``.

        Returns:
          float32, of the shape of `images`, of 0 to 255.
        """
        return jax.vmap(self._distorted)(images.astype(jnp.float32), keys)

    def _distorted(self, image: jax.Array, key: jax.Array) -> jax.Array:
        order_key, factor_key = jax.random.split(key)
        order = jax.random.permutation(order_key, 3)
        factors = jax.random.uniform(
            factor_key, (3,), minval=1 - self.strength, maxval=1 + self.strength
        )
        for kind in order:
            grey = image
            if image.shape[-1] == 3:
                # A sum, not a matrix product, which accelerators would round to fewer bits.
                grey = (image * jnp.array(_LUMA)).sum(axis=-1, keepdims=True)
            others = jnp.zeros_like(grey), jnp.full_like(grey, grey.mean()), grey
            other = jnp.stack(others)[kind]
            image = jnp.clip(other + factors[kind] * (image - other), 0, 255)
        return image
